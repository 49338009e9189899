// Runs: curves as they go, open-loop plots, summaries, reports, and trials.
import { el, api, tell } from "./desk.js";
import { drawCurves, COLOURS } from "./curves.js";
import { mountTrials, unmountTrials } from "./trials.js";

const EVERY_MS = 3000, FIRST = ["loss", "open_loop/normalised", "rollouts/success", "lr"];
let state = null, timer = 0;

export function mount(root) {
  const list = el("table", { id: "runs" }), reports = el("table", { id: "reports" });
  const detail = el("section", { className: "card wide", hidden: true }), frame = el("section", { className: "card wide", hidden: true });
  state = { list, reports, detail, frame, run: "", after: 0, curves: {} };
  const grid = el("div", { className: "grid" }, el("section", { className: "card" }, el("h2", {}, "Training runs"), list),
    el("section", { className: "card" }, el("h2", {}, "Reports"), reports), detail, frame);
  root.append(grid);
  mountTrials(grid);
  refresh();
}

export function unmount() {
  clearTimeout(timer);
  unmountTrials();
  state = null;
}

async function refresh() {
  const here = state;
  try {
    const [runs, reports] = [await api("/api/library/runs"), await api("/api/library/reports")];
    if (state !== here) return;
    here.list.replaceChildren(el("tr", {}, ["run", "step", "best", "solved"].map((name) => el("th", {}, name))), ...runs.map(row));
    if (!runs.length) here.list.replaceChildren(el("tr", {}, el("td", { className: "soft" }, "No run yet. Type: evo1 train --stage 1")));
    here.reports.replaceChildren(...reports.map((one) => el("tr", {}, el("td", {}, el("button", { onclick: () => openReport(one) }, one.name)),
      el("td", {}, one.title), el("td", { className: "soft" }, one.kind))));
    if (!reports.length) here.reports.replaceChildren(el("tr", {}, el("td", { className: "soft" }, "None below the runs: evo1 evaluate ... --report ~/evo1_runs/NAME/report")));
    if (here.run) await follow(here.run);
  } catch (error) {
    tell(error.message, true);
  }
  if (state === here) timer = setTimeout(refresh, EVERY_MS);
}

function row(one) {
  return el("tr", {}, el("td", {}, el("button", { onclick: () => { Object.assign(state, { run: one.name, after: 0, curves: {} }); follow(one.name); } }, one.name)),
    el("td", { className: one.running ? "ok" : "" }, `${one.step} / ${one.steps}${one.running ? " · runs" : ""}`),
    el("td", {}, one.best === null ? "" : `step ${one.best}${one.error === null ? "" : `, error ${one.error.toFixed(4)}`}`),
    el("td", {}, one.success === null ? "" : `${Math.round(100 * one.success)} %`));
}

async function follow(name) {
  const here = state, known = here.after;
  const facts = await api(`/api/library/run?${new URLSearchParams({ name, after: known })}`);
  if (state !== here || here.run !== name || here.after !== known) return;
  here.after = facts.next;
  for (const [key, points] of Object.entries(facts.curves)) (here.curves[key] ??= []).push(...points);
  const rank = (key) => FIRST.includes(key) ? FIRST.indexOf(key) : FIRST.length;
  const keys = Object.keys(here.curves).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  const plots = keys.map((key, place) => {
    const points = thin(here.curves[key]), canvas = el("canvas", { className: "joint" });
    requestAnimationFrame(() => drawCurves(canvas, [{ times: points.map((one) => one[0]), values: points.map((one) => one[1]), colour: COLOURS[place % COLOURS.length] }],
      { end: facts.card.steps, log: key === "loss" }));
    return el("figure", {}, el("figcaption", {}, `${key}: ${Number(here.curves[key].at(-1)[1].toPrecision(4))}`), canvas);
  });
  const newest = facts.plots.at(-1);
  here.detail.hidden = false;
  here.detail.replaceChildren(el("h2", {}, `${name}: step ${facts.card.step} of ${facts.card.steps}`), el("div", { className: "joints" }, plots),
    el("pre", {}, facts.summary), newest ? el("figure", {}, el("figcaption", {}, `held-out episode, ${newest.replace(".png", "").replace("_", " ")}`),
      el("img", { className: "plot", alt: "open loop", src: `/api/library/plot?${new URLSearchParams({ run: name, name: newest })}` })) : "");
}

function thin(points) {
  const every = Math.max(1, Math.ceil(points.length / 1000));
  return points.filter((_, place) => place % every === 0 || place === points.length - 1);
}

// No script of a report runs: the frame forbids it, and so does the header it is sent with.
function openReport(one) {
  const path = [one.name === "." ? "" : one.name, one.page].filter(Boolean).join("/").split("/").map(encodeURIComponent).join("/");
  const frame = el("iframe", { title: one.title, src: `/api/library/report/${one.root}/${path}` });
  frame.setAttribute("sandbox", "allow-same-origin");
  state.frame.hidden = false;
  state.frame.replaceChildren(el("h2", {}, one.title), frame);
}
