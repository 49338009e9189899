// An episode as a film strip with its joints on one time line, and the marks that a person sets on it.
import { api, el, tell } from "./desk.js";
import { drawCurves, COLOURS } from "./curves.js";

const COLUMNS = 12;
export const TONE = { pass: "ok", warn: "warn", warning: "warn", fail: "bad", error: "bad", "cut off": "bad" };

export const where = (shelf, episode) => new URLSearchParams({ ...shelf, episode }).toString();

// What came of a change, in words; null where it was refused.
export async function change(shelf, what, episodes, more = {}) {
  const said = await api("/api/library/change", { ...shelf, what, episodes, ...more })
    .catch((error) => { tell(error.message, true); return null; });
  if (said?.text) tell(said.text);
  return said;
}

// Asks in the button itself: a dialog of the browser would stand before STOP and its keys.
export function sure(props, title, question, act) {
  let asked = 0;
  const button = el("button", { ...props, onclick: () => {
    clearTimeout(asked);
    if (button.textContent !== title) { button.textContent = title; return act(); }
    button.textContent = question();
    asked = setTimeout(() => { button.textContent = title; }, 4000);
  } }, title);
  return button;
}

// Show an episode in `root`; `changed(said)` is told what came of what a person changed.
export async function showEpisode(root, shelf, name, changed) {
  root.hidden = false;
  root.dataset.name = name;
  root.replaceChildren(el("p", { className: "soft" }, `opening ${name} ...`));
  try {
    const facts = await api(`/api/library/episode?${where(shelf, name)}`);
    if (root.dataset.name === name) fillIn(root, shelf, name, facts, changed);
  } catch (error) {
    root.replaceChildren(el("p", { className: "bad" }, error.message));
  }
}

function fillIn(root, shelf, name, facts, changed) {
  const recorded = shelf.kind === "episodes", spans = facts.labels.map(([from, words]) => ({ from, words }));
  const strip = el("img", { className: "strip", alt: `film strip of ${name}`, src: `/api/library/strip?${where(shelf, name)}` });
  const times = el("div", { className: "times" }, (facts.times[0] || []).slice(0, COLUMNS).map((time) => el("span", {}, `${time.toFixed(1)} s`)));
  const place = el("input", { type: "range", className: "line", ariaLabel: "time", min: 0, max: facts.seconds, step: 0.05, value: 0 });
  const bar = el("div", { className: "spans" }), list = el("div"), told = el("strong", { className: "time" });
  const plots = facts.joints.map((joint) => [joint, el("canvas", { className: "joint" })]);
  const draw = () => {
    told.textContent = `${Number(place.value).toFixed(1)} s`;
    const ends = spans.map((_, k) => spans[k + 1]?.from ?? facts.seconds);
    bar.replaceChildren(...spans.map(({ from, words }, k) => {
      const span = el("span", { className: words ? "" : "out", title: words || "left out" }, words || "left out");
      span.style.flexGrow = Math.max(0.01, ends[k] - from);
      return span;
    }));
    const out = spans.flatMap(({ from, words }, k) => words ? [] : [[from, ends[k]]]);
    plots.forEach(([, canvas], k) => drawCurves(canvas, [
      { times: facts.state.times, values: facts.state.values[k], colour: COLOURS[0] },
      { times: facts.action.times, values: facts.action.values[k], colour: COLOURS[1], dashed: true },
    ], { end: facts.seconds, least: 0.1, shaded: [...facts.gaps, ...out], marks: [...spans.map(({ from }) => from), Number(place.value)] }));
  };
  place.addEventListener("input", draw);
  const found = [...(facts.reasons || []).map((reason) => el("li", { className: TONE[facts.grade] }, reason)),
    ...facts.findings.map((finding) => el("li", { className: TONE[finding.severity] || "soft" },
      finding.frame === null || finding.frame === undefined ? "" : `frame ${finding.frame}: `, `${finding.code}: ${finding.what} -> ${finding.remedy}`))];
  root.replaceChildren(el("h2", {}, facts.name), el("p", {}, el("strong", {}, facts.title)),
    el("p", { className: "soft" }, [facts.remarks.join(" · "), ` · ${facts.seconds.toFixed(1)} s`]), el("ul", {}, found),
    el("div", { className: "reel" }, times, strip, bar, place),
    recorded ? marksOfRecording(spans, list, place, told, draw, (spans) => change(shelf, "spans", [name], { spans }).then(changed))
      : trimOfDataset(facts, place, told, (trim) => change(shelf, "trim", [name], { trim }).then(changed)),
    el("div", { className: "soft" }, "state as a line, action dashed, gaps and what is left out shaded, spans and the chosen time marked"),
    el("div", { className: "joints" }, plots.map(([joint, canvas]) => el("figure", {}, el("figcaption", {}, joint), canvas))));
  requestAnimationFrame(draw);
}

function marksOfRecording(spans, list, place, told, draw, save) {
  const words = el("input", { type: "text", id: "words_of_span", placeholder: "another sub-task, in words", maxLength: 400 });
  const show = () => {
    list.replaceChildren(...spans.map((span, k) => el("div", { className: "row" }, el("strong", { className: "time" }, `${span.from.toFixed(1)} s`),
      el("input", { type: "text", value: span.words, placeholder: "left out", maxLength: 400, oninput: (event) => { span.words = event.target.value.trim(); draw(); } }),
      k ? el("button", { onclick: () => { spans.splice(k, 1); show(); } }, "Remove") : null)));
    draw();
  };
  const add = (said) => {
    const from = Number(place.value), same = spans.find((span) => span.from === from);
    if (same) same.words = said; else spans.push({ from, words: said });
    spans.sort((a, b) => a.from - b.from);
    show();
  };
  const keepFromHere = () => { // what stands here now goes on; nothing before it does
    const from = Number(place.value), said = spans.findLast((span) => span.from <= from).words;
    spans.splice(0, spans.length, ...spans.filter((span) => span.from > from));
    if (from > 0) spans.unshift({ from: 0, words: "" });
    spans.splice(from > 0 ? 1 : 0, 0, { from, words: said });
    show();
  };
  const keepToHere = () => {
    const from = Number(place.value);
    spans.splice(0, spans.length, ...spans.filter((span) => span.from < from));
    add("");
  };
  requestAnimationFrame(show);
  return el("div", {}, el("div", { className: "row" }, told, words, el("button", { onclick: () => { if (words.value.trim()) add(words.value.trim()); } }, "This from here on"),
    el("button", { onclick: keepFromHere }, "Trim what is before"), el("button", { onclick: keepToHere }, "Trim what is after")), list,
  el("div", { className: "row" }, el("button", { className: "main", id: "save_marks", onclick: () => save(spans.map(({ from, words }) => [from, words])) }, "Save marks"),
    el("span", { className: "soft" }, "convert reads them; what has no words is left out")));
}

function trimOfDataset(facts, place, told, trim) {
  const first = el("input", { type: "number", min: 0, value: 0 }), end = el("input", { type: "number", min: 1, value: facts.frames ?? 1 });
  const frame = () => Math.round(facts.frames * Number(place.value) / facts.seconds);
  return el("div", { className: "row" }, told, el("button", { onclick: () => { first.value = frame(); } }, "Keep from here"),
    el("button", { onclick: () => { end.value = frame(); } }, "Keep to here"), "frames", first, "to", end,
    el("button", { className: "main", onclick: () => trim([Number(first.value), Number(end.value)]) }, "Trim"));
}
