// The shell of the desk: the STOP bar, the tabs, and what every tab uses.
// Text from topics and datasets is set as textContent alone: it never becomes markup.

const TABS = { live: "Live", record: "Record", datasets: "Datasets", runs: "Runs" };
const page = sessionStorage.page ??= crypto.getRandomValues(new Uint32Array(4)).join("-");
const listeners = new Set();

export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child);
  }
  return made;
}

export async function api(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await fetch(path, options);
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.text || said.detail || `${path}: ${answer.status}`);
  return said;
}

export function tell(text, bad = false) {
  const told = document.getElementById("told");
  told.textContent = text;
  told.className = bad ? "bad" : "";
}

// The rows of a table, changed where they changed.
export function fill(table, heads, rows) {
  while (table.rows.length > rows.length + 1) table.deleteRow(-1);
  [heads, ...rows].forEach((cells, r) => {
    const row = table.rows[r] || table.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((text, c) => {
      const cell = row.cells[c] || row.appendChild(document.createElement(r ? "td" : "th"));
      if (cell.textContent !== String(text)) cell.textContent = text;
    });
  });
}

// Grey, with the reason, while what it does cannot be done.
export function hinder(control, state) {
  const why = state.operator?.mine ? state.hindrances?.[control.dataset.what] ?? "not known yet" : "this page only watches";
  control.disabled = Boolean(why);
  control.title = why;
}

export const desk = {
  page,
  state: { robot: null },
  onState(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  async act(what, value = null) {
    const said = await api("/api/act", { what, value, page }).catch(
      (error) => ({ ok: false, text: error.message }),
    );
    tell(said.text, !said.ok);
    return said;
  },
  take: () => api("/api/lease", { page }).then((said) => tell(said.text)),
};

let socket = null;
async function stop() {
  tell("STOP is said ...");
  // Over the open socket: requests wait where a browser's six connections are taken.
  if (socket?.readyState === WebSocket.OPEN && performance.now() - heardAt < 1500) return socket.send("stop");
  const said = await api("/api/stop", {}).catch(
    (error) => ({ ok: false, text: `NOT SAID: ${error.message}. Press the emergency stop.` }),
  );
  tell(said.text, !said.ok);
}

// pointerdown, not click: half a press is enough.
document.getElementById("stop").addEventListener("pointerdown", stop);
document.getElementById("stop").addEventListener("click", (event) => { if (event.detail === 0) stop(); }); // by Enter
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=button])");
  if (event.key === "Escape" || (event.key === " " && !typing)) {
    event.preventDefault();
    if (!event.repeat) stop();
  }
});

function showHead(state, gone) {
  const word = document.getElementById("state"), why = document.getElementById("reason");
  const policy = state.policy;
  if (gone) {
    word.className = "gone";
    word.textContent = "NO CONNECTION";
    why.textContent = "This page hears nothing: what it shows is old, and STOP may not be heard.";
  } else if (state.robot === false) {
    word.className = "";
    word.textContent = "Datasets and runs";
    why.textContent = "No robot (--no-robot).";
  } else if (policy) {
    word.className = policy.state;
    word.textContent = policy.state + (policy.reason_code ? ` · ${policy.reason_code}` : "");
    why.textContent = policy.reason || (policy.state === "IDLE" ? "At rest; resume starts it." : "");
  } else {
    word.className = state.relay ? "HOLDING" : "gone";
    word.textContent = state.relay ? "Relay" : "NOBODY ANSWERS";
    why.textContent = state.relay || "No policy and no relay is heard here. Is the system running?";
  }
}

let heardAt = 0, delay = 200;
function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/ws?page=${encodeURIComponent(page)}`);
  socket.onmessage = (event) => {
    heardAt = performance.now();
    delay = 200;
    const said = JSON.parse(event.data);
    if (said.told) return tell(said.told.text, !said.told.ok);
    desk.state = said;
    showHead(desk.state, false);
    for (const listener of listeners) listener(desk.state);
  };
  socket.onclose = () => {
    setTimeout(connect, delay);
    delay = Math.min(2 * delay, 3000);
  };
}
setInterval(() => {
  if (performance.now() - heardAt > 1500) showHead(desk.state, true);
}, 300);

let open = null;
async function show() {
  const name = location.hash.slice(1) in TABS ? location.hash.slice(1) : "live";
  const root = document.getElementById("root");
  open?.unmount?.();
  open = null;
  root.replaceChildren();
  for (const link of document.querySelectorAll("#tabs a")) {
    link.className = link.hash === `#${name}` ? "here" : "";
  }
  try {
    const tab = await import(`/static/tab_${name}.js`);
    if (name === (location.hash.slice(1) || "live") || name === "live") {
      open = tab;
      tab.mount(root, desk);
    }
  } catch (error) {
    root.append(el("p", { className: "bad" }, `This tab cannot be shown: ${error.message}`));
  }
}

document.getElementById("tabs").append(
  ...Object.entries(TABS).map(([name, title]) => el("a", { href: `#${name}` }, title)),
);
addEventListener("hashchange", show);
connect();
show();
