// Record: what, by whom and how many; the gate; start, save, discard; and each take's grade, film and marks.
import { api, el, fill, hinder, tell } from "./desk.js";
import { closeCameras, showCameras } from "./tab_live.js";
import { change, showEpisode, sure, TONE } from "./episode.js";

const PLAN = "evo1 recording", SHELF = { kind: "episodes", shelf: "." }, SHOWN = 24, COUNTED = 500;
let unlisten = null, here = null;

export function mount(root, desk) {
  const plan = JSON.parse(localStorage[PLAN] || "{}");
  const task = el("input", { type: "text", id: "task", placeholder: "what is demonstrated, in words", maxLength: 400, value: plan.task || "" });
  const number = el("input", { type: "number", id: "number", min: 1, max: 10000, value: plan.number || 10 });
  const who = el("input", { type: "text", id: "who", placeholder: "who demonstrates", maxLength: 100, value: plan.who || "" });
  const keep = () => { localStorage[PLAN] = JSON.stringify({ task: task.value, number: number.value, who: who.value }); };
  for (const field of [task, number, who]) field.addEventListener("change", keep);
  const head = el("h3", { id: "take" }), gate = el("ul", { className: "warn", id: "gate" }), facts = el("p", { className: "soft" });
  // Drawn only where it is asked for: a browser beside the recorder on a small machine takes its time.
  const cameras = el("div", { className: "grid" }), look = el("details", { id: "look" }, el("summary", {}, "Cameras"), cameras);
  const streams = el("table"), progress = el("p", { id: "progress" });
  const takes = el("div", { className: "episodes", id: "takes" }), opened = el("section", { className: "card wide", id: "opened", hidden: true });
  const mine = here = { saved: -1, began: false, takes, opened, progress, task, number };
  const ask = async (...whats) => {
    for (const what of whats) {
      const said = await desk.act(what, what === "record_task" ? task.value : null);
      if (what === "record_start" && said.ok) mine.began = true;
      if (!said.ok && !(what === "record_discard" && whats.length > 1)) return;
    }
  };
  const button = (title, whats, kind = "") => el("button", { className: kind, dataset: { what: whats.find((what) => what !== "record_task") }, onclick: () => ask(...whats) }, title);
  const buttons = [button("Start", ["record_task", "record_start"], "main"), button("Save", ["record_save"], "main"), button("Discard", ["record_discard"], "danger"),
    button("Record again", ["record_discard", "record_task", "record_start"]),
    sure({ className: "danger", dataset: { what: "record_delete_last" } }, "Delete last", () => "Move it to the trash?", () => ask("record_delete_last"))];
  root.append(el("div", { className: "grid" },
    el("section", { className: "card" }, el("h2", {}, "What is recorded"), el("div", { className: "row" }, task),
      el("div", { className: "row" }, number, "takes by", who), progress, head, gate, el("div", { className: "row" }, buttons)),
    el("section", { className: "card" }, el("h2", {}, "What comes in"), look, facts, el("div", { className: "reel" }, streams)),
    opened, el("section", { className: "card wide" }, el("h2", {}, "Takes"), takes)));
  showTakes();
  unlisten = desk.onState((state) => {
    const view = state.recorder;
    for (const one of buttons) hinder(one, state);
    head.textContent = view ? view.headline : "No recorder: evo1 launch xarm6 teleop:=true record:=true";
    showCameras(cameras, look.open ? view : null);
    if (!view) return;
    gate.replaceChildren(...view.streams.filter((one) => one.problem).map((one) => el("li", {}, `${one.name}: ${one.problem}`)));
    facts.textContent = `saved ${view.saved} · lost ${view.lost} · skew ${view.skew_ms.toFixed(0)} ms · disk ${view.disk}`;
    fill(streams, ["stream", "Hz", "age ms", "longest gap ms", "lost"], view.streams.map((one) =>
      [one.name, one.rate_hz.toFixed(1), one.age_ms === null ? "never" : one.age_ms.toFixed(0), one.max_gap_ms.toFixed(0), one.lost]));
    view.streams.forEach((one, k) => Object.assign(streams.rows[k + 1], { className: one.problem ? "bad" : one.lost ? "warn" : "", title: one.topic }));
    if (view.saved !== mine.saved) {
      const added = mine.saved >= 0 && view.saved > mine.saved;
      mine.saved = view.saved;
      // A take that began elsewhere is somebody else's, and that page names him.
      showTakes({ open: added, by: added && mine.began ? who.value : "" });
      if (added) mine.began = false;
    }
  });
}

export function unmount() {
  unlisten?.();
  closeCameras();
  here = null;
}

async function showTakes({ open = false, by = "" } = {}) {
  const mine = here, list = () => api(`/api/library/episodes?${new URLSearchParams({ ...SHELF, count: COUNTED })}`).catch(() => ({ cards: [] }));
  let { cards } = await list();
  if (by && cards.length) {
    await change(SHELF, "operator", [cards[0].name], { text: by });
    ({ cards } = await list());
  }
  if (here !== mine) return;
  const { task, number, takes, opened, progress } = mine;
  const good = cards.filter((one) => ["pass", "warn"].includes(one.grade) && one.instruction.split("; ").includes(task.value)).length;
  progress.textContent = task.value ? `${good} of ${number.value} takes of this task` : "";
  takes.replaceChildren(...cards.slice(0, SHOWN).map(take));
  if (open && cards.length) {
    tell(`${cards[0].name}: ${[cards[0].grade, ...cards[0].reasons].join("; ")}`);
    showEpisode(opened, SHELF, cards[0].name, changed);
  } else if (!cards.some((one) => one.name === opened.dataset.name)) {
    opened.hidden = true;
  }
}

const changed = (said) => { if (said && here) showTakes(); };

function take(one) {
  return el("article", { className: "episode take" }, el("strong", {}, one.name.replace("episode_", "")), ` ${one.seconds.toFixed(1)} s `,
    el("span", { className: TONE[one.grade] || "soft" }, one.grade), one.operator ? ` · ${one.operator}` : "",
    el("div", { className: "what", title: one.instruction }, one.instruction || "no label"),
    el("ul", {}, one.reasons.map((reason) => el("li", {}, reason))),
    el("div", { className: "row" }, el("button", { onclick: () => { showEpisode(here.opened, SHELF, one.name, changed); here.opened.scrollIntoView({ behavior: "smooth" }); } }, "Open"),
      sure({ className: "danger" }, "Delete", () => "Move it to the trash?", () => change(SHELF, "delete", [one.name]).then(changed))));
}
