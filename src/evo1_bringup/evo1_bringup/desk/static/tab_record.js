// Record: what, by whom and how many; the gate; start, save, discard; and each take's grade.
import { api, el, fill, hinder, tell } from "./desk.js";

const PLAN = "evo1 recording", SHELF = { kind: "episodes", shelf: "." };
let unlisten = null, lastSaved = -1, mounted = false;

export function mount(root, desk) {
  const plan = JSON.parse(localStorage[PLAN] || "{}");
  const task = el("input", { type: "text", id: "task", placeholder: "what is demonstrated, in words", maxLength: 400, value: plan.task || "" });
  const number = el("input", { type: "number", id: "number", min: 1, max: 10000, value: plan.number || 10 });
  const who = el("input", { type: "text", id: "who", placeholder: "who demonstrates", maxLength: 100, value: plan.who || "" });
  const keep = () => { localStorage[PLAN] = JSON.stringify({ task: task.value, number: number.value, who: who.value }); };
  for (const field of [task, number, who]) field.addEventListener("change", keep);
  const head = el("h3", { id: "take" }), gate = el("p", { className: "warn" }), facts = el("p", { className: "soft" });
  const streams = el("table"), takes = el("div", { className: "episodes", id: "takes" }), progress = el("p", { id: "progress" });
  const ask = async (...whats) => {
    for (const what of whats) {
      const said = await desk.act(what, what === "record_task" ? task.value : null);
      if (!said.ok && !(what === "record_discard" && whats.length > 1)) return;
    }
  };
  const button = (title, whats, kind = "") => el("button", { className: kind, dataset: { what: whats.find((what) => what !== "record_task") }, onclick: () => ask(...whats) }, title);
  const buttons = [button("Start", ["record_task", "record_start"], "main"), button("Save", ["record_save"], "main"), button("Discard", ["record_discard"], "danger"),
    button("Record again", ["record_discard", "record_start"]), button("Delete last", ["record_delete_last"], "danger")];
  root.append(el("div", { className: "grid" },
    el("section", { className: "card" }, el("h2", {}, "What is recorded"), el("div", { className: "row" }, task),
      el("div", { className: "row" }, number, "takes by", who), progress, head, gate, el("div", { className: "row" }, buttons)),
    el("section", { className: "card" }, el("h2", {}, "What comes in"), facts, streams),
    el("section", { className: "card wide" }, el("h2", {}, "Takes"), takes)));
  mounted = true;
  lastSaved = -1;
  const renew = () => showTakes(takes, progress, { task: task.value, number: number.value, who: who.value });
  renew();
  unlisten = desk.onState((state) => {
    const view = state.recorder;
    for (const one of buttons) hinder(one, state);
    head.textContent = view ? view.headline : "No recorder: evo1 launch xarm6 teleop:=true record:=true";
    if (!view) return;
    const missing = view.streams.filter((one) => one.problem);
    gate.textContent = view.reason || missing.map((one) => `${one.name}: ${one.problem}`).join("; ");
    facts.textContent = `saved ${view.saved} · lost ${view.lost} · skew ${view.skew_ms.toFixed(0)} ms · disk ${view.disk}`;
    fill(streams, ["stream", "Hz", "age ms", "longest gap ms", "lost"], view.streams.map((one) =>
      [one.name, one.rate_hz.toFixed(1), one.age_ms === null ? "never" : one.age_ms.toFixed(0), one.max_gap_ms.toFixed(0), one.lost]));
    view.streams.forEach((one, k) => Object.assign(streams.rows[k + 1], { className: one.problem ? "bad" : one.lost ? "warn" : "", title: one.topic }));
    if (view.saved !== lastSaved) {
      const added = lastSaved >= 0 && view.saved > lastSaved;
      lastSaved = view.saved;
      (added && who.value ? nameLast(who.value) : Promise.resolve()).then(renew);
    }
  });
}

export function unmount() {
  unlisten?.();
  mounted = false;
}

const newest = () => api("/api/library/episodes?kind=episodes&shelf=.&count=24");

async function nameLast(who) {
  const found = await newest();
  if (found.names.length) await change("operator", [found.names[0]], who);
}

async function change(what, episodes, text = "") {
  const said = await api("/api/library/change", { ...SHELF, what, episodes, text }).catch((error) => ({ text: error.message, bad: true }));
  tell(said.text, said.bad);
}

async function showTakes(root, progress, plan) {
  const found = await newest().catch(() => ({ cards: [], names: [] }));
  if (!mounted) return;
  const good = found.cards.filter((one) => one.grade !== "fail" && one.instruction === plan.task).length;
  progress.textContent = plan.task ? `${good} of ${plan.number} of this task among the newest ${found.cards.length}` : "";
  root.replaceChildren(...found.cards.map((one) => take(one, () => showTakes(root, progress, plan))));
}

function take(one, renew) {
  const text = el("input", { type: "text", value: one.instruction, maxLength: 400 });
  const strip = el("div"), name = one.name;
  const show = () => strip.replaceChildren(el("img", { className: "strip", alt: "film strip", src: `/api/library/strip?kind=episodes&shelf=.&episode=${encodeURIComponent(name)}` }));
  return el("article", { className: "episode take" }, el("strong", {}, name.replace("episode_", "")), ` ${one.seconds.toFixed(1)} s `,
    el("span", { className: one.grade === "pass" ? "ok" : one.grade === "warn" ? "warn" : "bad" }, one.grade),
    el("ul", {}, one.reasons.map((reason) => el("li", {}, reason))), strip,
    el("div", { className: "row" }, text, el("button", { onclick: () => change("relabel", [name], text.value).then(renew) }, "Name anew"),
      el("button", { onclick: show }, "Film strip"), el("button", { className: "danger", onclick: () => change("delete", [name]).then(renew) }, "Delete")));
}
