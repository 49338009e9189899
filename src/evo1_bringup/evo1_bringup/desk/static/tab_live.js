// Live: cameras, state, joints, latency, nodes; and what an operator asks for.
import { COLOURS, drawCurves } from "./curves.js";
import { el, fill, hinder, tell } from "./desk.js";

const WINDOW_S = 20, AHEAD_S = 2;
const BUTTONS = [
  ["resume", "Resume", "main"], ["pause", "Pause"], ["clear_stop", "Clear stop"],
  ["take_over", "Take over"], ["hand_back", "Hand back"], ["home", "Home"], ["park", "Park"],
  ["recover_arm", "Recover arm"], ["reset", "Reset scene"],
];
const WORDS = "evo1 instructions";
const eyes = new Set();
let stopListening = null, frame = 0, history = [];

export function mount(root, desk) {
  const cameras = el("div", { className: "grid" });
  const buttons = BUTTONS.map(([what, title, kind]) =>
    el("button", { className: kind || "", dataset: { what }, onclick: () => desk.act(what) }, title));
  const words = el("input", { type: "text", placeholder: "what to do, in words", maxLength: 400 });
  words.setAttribute("list", "said");
  const said = el("datalist", { id: "said" });
  const way = el("select", { title: "what happens to the chunk that runs" },
    ...["blend", "finish", "flush"].map((one) => el("option", {}, one)));
  const send = el("button", { dataset: { what: "instruction" }, onclick: () => instruct(desk, words, way, said) }, "Say");
  const pace = el("input", { type: "range", min: 10, max: 100, step: 5, dataset: { what: "speed" } });
  const paceTold = el("span", {});
  pace.addEventListener("change", () => desk.act("speed", Number(pace.value)));
  const operator = el("span", { className: "soft" });
  const takeControls = el("button", { onclick: () => desk.take() }, "Take the controls");
  const plot = el("canvas", { height: 220 }), keys = el("div");
  const status = el("pre"), task = el("p"), parts = el("table"), nodes = el("table");
  const streams = el("table");
  root.append(el("div", { className: "grid" },
    el("section", { className: "card wide" }, el("h2", {}, "Cameras"), cameras),
    el("section", { className: "card" }, el("h2", {}, "Act"),
      el("div", { className: "row" }, operator, takeControls),
      el("div", { className: "row" }, buttons),
      el("div", { className: "row" }, words, said, way, send),
      el("div", { className: "row" }, "Pace", pace, paceTold), task),
    el("section", { className: "card" }, el("h2", {}, "Status"), status),
    el("section", { className: "card wide" }, el("h2", {}, "Joints: measured, held by the controllers, planned"), plot, keys),
    el("section", { className: "card" }, el("h2", {}, "Streams"), streams),
    el("section", { className: "card" }, el("h2", {}, "Latency and seam of the last chunk"), parts),
    el("section", { className: "card" }, el("h2", {}, "Nodes"), nodes)));
  showHistory(said);
  history = [];
  stopListening = desk.onState((state) => {
    remember(state);
    showCameras(cameras, state.policy || state.recorder);
    for (const button of [...buttons, send, pace]) hinder(button, state);
    if (document.activeElement !== pace && state.policy) pace.value = state.policy.speed;
    paceTold.textContent = state.policy ? `${state.policy.speed} %` : "";
    if (document.activeElement !== words && state.policy && !words.value) words.placeholder = state.policy.instruction || words.placeholder;
    operator.textContent = state.operator?.mine ? "This page operates."
      : state.operator?.somebody ? "Another page operates; this one watches. STOP works from every page." : "Nobody operates.";
    takeControls.hidden = Boolean(state.operator?.mine);
    status.textContent = state.policy ? state.policy.lines.join("\n") : state.relay || "nothing heard";
    task.textContent = state.task ? `Task ${state.task.task}, seed ${state.task.seed}: ${state.task.success ? "SUCCESS" : "not solved"} · ${state.task.detail} · ${state.task.elapsed_s} s` : "";
    task.className = state.task?.success ? "ok" : "soft";
    showStreams(streams, state.policy);
    showParts(parts, state.chunks);
    showNodes(nodes, state.nodes || []);
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => draw(plot, keys, state));
  });
}

export function unmount() {
  stopListening?.();
  cancelAnimationFrame(frame);
  closeCameras();
}

async function instruct(desk, words, way, said) {
  if (!words.value.trim()) return tell("Type what to do first.", true);
  const answer = await desk.act("instruction", { text: words.value, transition: way.value });
  if (!answer.ok) return;
  const before = JSON.parse(localStorage[WORDS] || "[]").filter((one) => one !== words.value);
  localStorage[WORDS] = JSON.stringify([words.value, ...before].slice(0, 20));
  showHistory(said);
}

function showHistory(said) {
  said.replaceChildren(...JSON.parse(localStorage[WORDS] || "[]").map((one) => el("option", { value: one })));
}

// Of a policy or a recorder, whose other streams have the names of their topics.
export function showCameras(place, one) {
  const streams = (one?.streams || []).filter(({ name }) => name !== "joint_states" && !name.includes("/"));
  const names = streams.map((one) => one.name).join();
  if (place.dataset.names !== names) {
    place.dataset.names = names;
    closeCameras();
    place.replaceChildren(...streams.map((one) => {
      const image = el("img", { alt: one.name });
      watch(image, one.name);
      return el("div", { className: "camera" }, image, el("span", { className: "tag" }));
    }));
  }
  streams.forEach((one, k) => {
    const tag = place.children[k].querySelector(".tag");
    const age = one.age_ms === null ? "nothing yet" : `${one.age_ms.toFixed(0)} ms old`;
    tag.textContent = `${one.name} · ${one.rate_hz.toFixed(1)} Hz · ${age}${one.problem ? ` · ${one.problem}` : ""}`;
    tag.className = one.problem || one.age_ms === null || one.age_ms > one.max_age_ms ? "tag bad" : "tag";
  });
}

// Pictures come over a socket each: streams in an <img> would use up the browser's connections.
function watch(image, name) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const eye = new WebSocket(`${scheme}://${location.host}/pictures/${encodeURIComponent(name)}`);
  eye.binaryType = "blob";
  eye.onmessage = (event) => {
    const before = image.src;
    image.src = URL.createObjectURL(event.data);
    if (before) URL.revokeObjectURL(before);
  };
  eye.onclose = () => { if (eyes.delete(eye) && image.isConnected) setTimeout(watch, 1000, image, name); };
  eyes.add(eye);
}

export function closeCameras() {
  for (const eye of eyes) {
    eyes.delete(eye);
    eye.close();
  }
}

function showStreams(table, policy) {
  const rows = (policy?.streams || []).map((one) => [one.name, one.rate_hz.toFixed(1), one.age_ms === null ? "none" : one.age_ms.toFixed(0),
    one.max_age_ms.toFixed(0), one.offset_ms === null ? "" : one.offset_ms.toFixed(0), one.topic]);
  fill(table, ["stream", "Hz", "age ms", "of", "offset ms", "topic"], rows);
}

function showParts(table, chunks) {
  const last = chunks?.at(-1);
  const rows = Object.entries({ ...last?.latency_ms, ...last?.seam }).map(([name, value]) => [name.replaceAll("_", " "), value.toFixed(2)]);
  fill(table, ["of chunk", last ? String(last.id) : ""], rows);
}

function showNodes(table, nodes) {
  fill(table, ["node", "", "says", "s ago"], nodes.map((one) => [one.name, one.age_s > 5 ? "silent" : one.level, one.text, one.age_s.toFixed(0)]));
  nodes.forEach((one, k) => { table.rows[k + 1].cells[1].className = one.age_s > 5 ? "error" : one.level; });
}

function remember(state) {
  const last = history.at(-1)?.at_s ?? 0;
  for (const one of state.joints || []) if (one.at_s > last) history.push({ ...one, held: state.held || {} });
  while (history.length && history[0].at_s < state.now_s - WINDOW_S) history.shift();
}

function draw(canvas, keys, state) {
  const chunk = state.chunks?.at(-1), before = state.chunks?.at(-2);
  const names = chunk?.joints?.length ? chunk.joints : Object.keys(history.at(-1)?.positions || {});
  const shown = names.slice(0, 16), place = (at_s) => at_s - state.now_s + WINDOW_S;
  if (keys.dataset.names !== shown.join()) {
    keys.dataset.names = shown.join();
    keys.replaceChildren(...shown.map((name, k) => {
      const line = el("i");
      line.style.background = COLOURS[k % COLOURS.length];
      return el("span", { className: "key" }, line, name);
    }), el("span", { className: "soft" }, "solid: measured · dashed: held · faint: planned, this chunk and the one before"));
  }
  const curves = shown.flatMap((name, k) => {
    const colour = COLOURS[k % COLOURS.length], times = history.map((one) => place(one.at_s));
    const planned = [[before, "55"], [chunk, "aa"]].map(([one, faint]) => {
      const column = one?.joints.indexOf(name) ?? -1;
      const rows = column < 0 ? [] : one.at_s.map((at_s, r) => [place(at_s), one.positions[r][column]])
        .filter(([time]) => time >= 0 && time <= WINDOW_S + AHEAD_S);
      return { times: rows.map(([time]) => time), values: rows.map(([, value]) => value), colour: colour + faint };
    });
    return [{ times, values: history.map((one) => one.positions[name] ?? null), colour },
      { times, values: history.map((one) => one.held[name] ?? null), colour, dashed: true }, ...planned];
  });
  drawCurves(canvas, curves, { end: WINDOW_S + AHEAD_S, zero: WINDOW_S, least: 0.2, marks: [0, WINDOW_S] });
}
