// Trials in the real world, scored by a person who does not know which policy is which.
import { api, el, fill, tell } from "./desk.js";
import { sure } from "./episode.js";

let here = null;

export function mountTrials(root) {
  const list = el("table", { id: "books" }), begin = el("pre"), book = el("section", { className: "card wide", id: "book", hidden: true });
  here = { list, begin, book, name: "", clock: 0 };
  root.append(el("section", { className: "card" }, el("h2", {}, "Trials"), list, begin), book);
  showBooks();
}

export function unmountTrials() {
  clearInterval(here?.clock);
  here = null;
}

async function showBooks() {
  const mine = here, found = await api("/api/library/trials").catch((error) => { tell(error.message, true); return null; });
  if (!found || here !== mine) return;
  mine.list.replaceChildren(...found.books.map((one) => el("tr", {}, el("td", {}, el("button", { disabled: Boolean(one.problem), onclick: () => open(one.name) }, one.name)),
    el("td", { className: one.problem ? "bad" : "" }, one.problem || one.task), el("td", {}, one.problem ? "" : one.opened ? "names are known" : `${one.left} of ${one.trials} left`))));
  mine.begin.textContent = `begin one:\n${found.begin}`;
}

async function open(name) {
  here.name = name;
  show(await api(`/api/library/trial?${new URLSearchParams({ name })}`).catch((error) => { tell(error.message, true); return null; }));
  here?.book.scrollIntoView({ behavior: "smooth" });
}

const ask = (path, body) => api(`/api/library/${path}`, { book: here.name, ...body })
  .then((facts) => { show(facts); showBooks(); }, (error) => tell(error.message, true));

function show(facts) {
  if (!facts || !here) return;
  const { book, name } = here, table = el("table"), left = facts.trials - facts.scored.length;
  clearInterval(here.clock);
  book.hidden = false;
  fill(table, ["trial", "condition", "scene", "what came of it", "s", "notes"], facts.scored.map((one) =>
    [one.number, one.condition, one.scene, one.solved ? "solved" : "failed", one.seconds ? one.seconds.toFixed(1) : "", one.notes]));
  const end = sure({ className: left ? "danger" : "main", id: "unblind" }, "Tell the names", () => left ? `End it with ${left} left?` : "End the scoring?", () => ask("unblind", { early: left > 0 }));
  book.replaceChildren(el("h2", {}, `${name}: ${facts.task}`),
    facts.report.length ? el("pre", { id: "report" }, facts.report.join("\n")) : el("div", {}, facts.next ? scoring(facts) : el("p", {}, "Every trial is scored."), facts.scored.length ? end : null),
    table);
}

// The next trial; a number of one that was scored already corrects it.
function scoring(facts) {
  const number = el("input", { type: "number", id: "trial", min: 1, max: facts.trials, value: facts.next });
  const seconds = el("input", { type: "number", id: "seconds", min: 0, step: 0.1, placeholder: "seconds" }), notes = el("input", { type: "text", id: "notes", placeholder: "notes", maxLength: 2000 });
  const clock = el("button", { onclick: () => {
    const from = performance.now();
    clearInterval(here.clock);
    here.clock = setInterval(() => { seconds.value = ((performance.now() - from) / 1000).toFixed(1); }, 100);
  } }, "Start the clock");
  const score = (solved) => {
    if (solved && !Number(seconds.value)) return tell("after how many seconds was it solved?", true);
    tell("");
    return ask("score", { number: Number(number.value), solved, seconds: solved ? Number(seconds.value) : 0, notes: notes.value });
  };
  return el("div", {}, el("pre", { id: "todo" }, facts.todo.join("\n")),
    el("div", { className: "row" }, "trial", number, clock, seconds, notes, el("button", { className: "main", id: "solved", onclick: () => score(true) }, "Solved"),
      el("button", { className: "danger", id: "failed", onclick: () => score(false) }, "Failed")));
}
