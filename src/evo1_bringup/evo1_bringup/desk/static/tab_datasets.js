// Datasets: recordings and LeRobot datasets, an episode as film strip with its joints, and what is done with many.
import { el, api, tell } from "./desk.js";
import { change, showEpisode, sure, TONE } from "./episode.js";

const PAGE = 60;
const NAMES = { episodes: "recordings", datasets: "dataset" };
let state = null, timer = 0;

export function mount(root) {
  const places = el("select", { id: "shelf" }), words = el("input", { type: "text", id: "words", placeholder: "find: words, name, who" });
  const grade = el("select", { id: "grade" }, el("option", { value: "" }, "any grade"));
  const list = el("div", { className: "episodes", id: "episodes" }), count = el("span", { className: "soft", id: "count" });
  const more = el("button", { onclick: () => load(true) }, "Show more");
  const tools = el("div", { className: "row" }), next = el("pre", { id: "next" }), detail = el("section", { className: "card wide", id: "detail", hidden: true });
  state = { places, words, grade, list, count, more, tools, next, detail, chosen: new Set(), names: [], shown: 0, queue: [], loading: 0 };
  places.addEventListener("change", () => load());
  grade.addEventListener("change", () => load());
  words.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(load, 250); });
  root.append(el("div", { className: "grid" },
    el("section", { className: "card wide" }, el("h2", {}, "Episodes"),
      el("div", { className: "row" }, places, words, grade, count), tools, next, list, more), detail));
  api("/api/library/shelves").then((found) => {
    places.append(...found.map((one) => el("option", { value: `${one.kind}:${one.name}` },
      `${NAMES[one.kind]} ${one.name === "." ? "(all)" : one.name}`)));
    if (found.length) load();
    else list.append(el("p", { className: "soft" }, "Nothing is recorded or converted yet."));
  }).catch((error) => tell(error.message, true));
}

export function unmount() {
  clearTimeout(timer);
  state = null;
}

function shelf() {
  const [kind, ...name] = state.places.value.split(":");
  return { kind, shelf: name.join(":") };
}

const query = (more = {}) => new URLSearchParams({ ...shelf(), ...more }).toString();

async function load(more = false) {
  const here = state;
  if (more !== true) Object.assign(here, { shown: 0, queue: [], chosen: new Set() });
  if (more !== true) here.next.textContent = "";
  const found = await api(`/api/library/episodes?${query({ first: here.shown, count: PAGE, words: here.words.value, grade: here.grade.value })}`)
    .catch((error) => { tell(error.message, true); return null; });
  if (!found || state !== here) return;
  if (more !== true) here.list.replaceChildren();
  here.names = found.names;
  here.shown += found.cards.length;
  here.list.append(...found.cards.map(card));
  here.more.hidden = here.shown >= found.total;
  const kept = here.grade.value;
  here.grade.replaceChildren(el("option", { value: "" }, "any grade"), ...Object.entries(found.grades)
    .filter(([name]) => name).map(([name, number]) => el("option", { value: name }, `${name} (${number})`)));
  here.grade.value = kept;
  showTools(found.total);
  api(`/api/library/commands?${query()}`).then((lines) => {
    if (state === here && !here.chosen.size && !here.next.textContent) here.next.textContent = `next:\n${lines.join("\n")}`;
  }).catch(() => {});
}

function card(one) {
  const image = el("img", { alt: "", loading: "lazy" });
  const box = el("input", { type: "checkbox", ariaLabel: `choose ${one.name}`, onchange: () => choose(one.name, box.checked) });
  const made = el("article", { className: "episode", dataset: { name: one.name } },
    el("label", {}, box, " ", one.name.replace("episode_", "")),
    el("button", { className: "film", onclick: () => open(one.name) }, image),
    el("div", { className: "what", title: one.instruction }, one.instruction || "no label"),
    el("div", { className: "soft" }, `${one.seconds.toFixed(1)} s`, one.operator ? ` · ${one.operator}` : ""),
    el("div", { className: TONE[one.grade] || "soft", title: one.reasons.join("\n") },
      one.grade + (one.reasons.length ? `: ${one.reasons[0]}` : "")));
  new IntersectionObserver((seen, observer) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    state?.queue.push([image, `/api/library/thumbnail?${query({ episode: one.name })}`]);
    fill();
  }).observe(made);
  return made;
}

// Two at a time: a browser has six connections to a host, and STOP must find one free.
function fill() {
  const here = state;
  while (here && here.loading < 2 && here.queue.length) {
    const [image, source] = here.queue.shift();
    here.loading += 1;
    image.onload = image.onerror = () => { here.loading -= 1; if (state === here) fill(); };
    image.src = source;
  }
}

function choose(name, on) {
  if (on) state.chosen.add(name); else state.chosen.delete(name);
  showTools();
}

function showTools(total) {
  if (total !== undefined) state.total = total;
  const recorded = shelf().kind === "episodes", chosen = [...state.chosen];
  state.count.textContent = `${state.total} episodes` + (chosen.length ? `, ${chosen.length} chosen` : "");
  const text = el("input", { type: "text", placeholder: "another label", maxLength: 400 });
  const ask = (what) => change(shelf(), what, [...state.chosen], { text: text.value }).then(showWhatCame);
  const button = (title, what) => el("button", { disabled: !chosen.length, dataset: { what }, onclick: () => ask(what) }, title);
  state.tools.replaceChildren(
    el("button", { onclick: chooseAll }, chosen.length ? "Choose none" : "Choose all"),
    recorded ? sure({ className: "danger", disabled: !chosen.length, dataset: { what: "delete" } }, "Delete", () => `Move ${chosen.length} to the trash?`, () => ask("delete"))
      : button("Delete", "delete"), ...(recorded ? [] : [button("Keep these only", "keep")]), text, button("Name anew", "relabel"),
    ...(recorded ? [button("Who demonstrated", "operator")] : [el("button", { onclick: check }, "Check this dataset")]));
}

function chooseAll() {
  state.chosen = new Set(state.chosen.size ? [] : state.names);
  for (const box of state.list.querySelectorAll("input[type=checkbox]")) {
    box.checked = state.chosen.has(box.closest("article").dataset.name);
  }
  showTools();
}

async function showWhatCame(said) {
  const here = state;
  if (!said || !here) return;
  if (said.command) {
    here.next.textContent = `datasets are changed by a command; type:\n${said.command}`;
    here.next.scrollIntoView({ behavior: "smooth", block: "center" });
  } else {
    await load();
    here.detail.hidden ||= !here.names.includes(here.detail.dataset.name);
  }
}

async function check() {
  const here = state, place = shelf().shelf;
  await api("/api/library/check", { ...shelf(), what: "check" });
  while (state === here) {
    const found = await api(`/api/library/findings?${new URLSearchParams({ shelf: place })}`);
    const told = (found.report.findings || []).filter((one) => one.episode === null);
    if (!found.running) await load();
    here.next.textContent = found.running ? "checking ..." : told.map((one) => `${one.severity}: ${one.code}: ${one.where}: ${one.what}\n  -> ${one.remedy}`).join("\n") || "checked; what is about one episode stands beside it";
    if (!found.running) return;
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function open(name) {
  showEpisode(state.detail, shelf(), name, showWhatCame);
  state.detail.scrollIntoView({ behavior: "smooth" });
}
