// Shows what `GET /events` streams. Text from the machine only ever becomes textContent: names are others' choice.
"use strict";

const TOKEN = "schedtuna-token"; // in sessionStorage, which other ports and other tabs do not see
const NR_THREADS = 10;
const MOST_LINES = 100;
const AGAIN_MS = 2000;

const at = (id) => document.getElementById(id);
const state = { view: null, heardAt: 0, lastId: "", connected: false, undoing: new Set() };

function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  const { className, text, ...attributes } = options;
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text; // else a screen reader would say it again
}

// Makes a list's children those of `items`; one that stays is not replaced, so that it keeps the focus.
function reconcile(list, items, keyOf, make, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = old.get(key);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = key;
    }
    old.delete(key);
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
    if (update) update(child, item);
  }
  for (const child of old.values()) {
    const neighbour = child.nextElementSibling ?? child.previousElementSibling;
    const hadFocus = child.contains(document.activeElement);
    child.remove();
    if (hadFocus) (neighbour?.querySelector("button") ?? list).focus();
  }
}

// Words and numbers

function figure(value) {
  if (value === null || value === undefined) return "unknown";
  if (typeof value !== "number") return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function micros(value) {
  if (value === null) return "unknown";
  return value >= 1000 ? `${figure(value / 1000)} ms` : `${figure(value)} µs`;
}

// How old is what is shown?

function ageOf(view) {
  const since = (performance.now() - state.heardAt) / 1000 + view.heard_s_ago;
  return view.interval ? view.interval.age_s + since : since;
}

function showFreshness() {
  const view = state.view;
  const badge = at("freshness");
  let text = "waiting for the agent";
  let kind = "";
  if (view && view.problem) [text, kind] = ["no agent answers", "stale"];
  else if (!state.connected) [text, kind] = [view ? `connection lost; data is ${duration(ageOf(view))} old` : "not connected", view ? "stale" : ""];
  else if (view) {
    const age = ageOf(view);
    const stale = age > Math.max(3 * view.interval_s, 5);
    [text, kind] = stale ? [`stale: ${duration(age)} old`, "stale"] : ["live", "fresh"];
  }
  setText(badge, text);
  badge.className = kind;
  at("main").classList.toggle("stale", kind === "stale");
}

// What is shown

function notices(view) {
  const told = [];
  if (view.problem) told.push(view.hint ? `${view.problem}: ${view.hint}` : view.problem);
  if (view.stopped) told.push(`Stopped, and all put back: ${view.stopped}. \`schedtuna agent resume\` lets it go on.`);
  if (view.advise) told.push("It only advises: nothing is changed.");
  for (const [name, why] of Object.entries(view.unknown ?? {})) told.push(`Unknown: ${name}: ${why}`);
  for (const name of view.managers ?? []) told.push(`${name} runs: what it sets is only advised.`);
  for (const line of view.advice ?? []) told.push(line);
  reconcile(at("notices"), told, (text) => text, (text) => element("li", { text }));
}

function standing(view) {
  const items = view.standing.length ? view.standing : [{ id: "", empty: nothingInForce(view) }];
  reconcile(at("standing"), items, (one) => one.id, makeChange, updateChange);
}

function nothingInForce(view) {
  if (view.guard.decision === "suspend") return "Nothing just now: the guard compares with a window without the changes.";
  return "Nothing is changed.";
}

function makeChange(one) {
  if (one.id === "") return element("li", { className: "empty", text: one.empty });
  const what = `${one.setting} of ${one.what}`;
  const button = element("button", { type: "button", text: "Undo", "aria-label": `Undo ${what}` });
  button.addEventListener("click", () => undo(one.id, what));
  return element("li", {}, element("div", {}, element("div", { className: "what" }), element("div", { className: "why" })), button);
}

function updateChange(row, one) {
  if (one.id === "") return setText(row, one.empty);
  setText(row.querySelector(".what"), `${one.setting} of ${one.what}: ${figure(one.found)} → ${figure(one.value)}`);
  const proof = one.why_unproven ? "; not proven by a past study" : "; proven by a past study";
  setText(row.querySelector(".why"), `for ${duration(one.since_s)}, because ${one.reason}${proof} (${one.id})`);
  row.querySelector("button").disabled = state.undoing.has(one.id);
}

const DECIDED = { allow: "changes are allowed", hold: "nothing new is changed", suspend: "a window without the changes", roll_back: "all is put back" };

function guard(view) {
  const proof = view.guard.facts.state ? `${view.guard.facts.state.replace("_", " ")}; ` : "no guard, or it has not judged yet; ";
  setText(at("guard"), proof + (DECIDED[view.guard.decision] ?? view.guard.decision) + (view.guard.reason ? `: ${view.guard.reason}` : ""));
  const rows = Object.entries(view.effects).map(([name, effect]) => ({ name, effect }));
  reconcile(at("effects"), rows.length ? rows : [{ name: "" }], (row) => row.name, makeEffect, updateEffect);
}

function makeEffect({ name }) {
  if (name === "") return element("tr", {}, element("td", { colspan: "4", className: "empty", text: "No window with and without the changes is complete yet." }));
  const track = element("span", { className: "track" }, element("span", { className: "one" }), element("span", { className: "span" }), element("span", { className: "point" }));
  return element("tr", {}, element("td", { text: name }), element("td", { className: "forest" }, track), element("td"), element("td", { className: "number" }));
}

function updateEffect(row, { name, effect }) {
  if (name === "") return;
  const { ratio, ratio_low: low, ratio_high: high } = effect;
  const known = ratio !== null;
  const bounds = low === null || high === null ? "no interval yet" : `${low.toFixed(2)} to ${high.toFixed(2)}`;
  setText(row.children[2], known ? `×${ratio.toFixed(2)} (${bounds})` : "unknown");
  setText(row.children[3], figure(effect.nr_units));
  const [, span, point] = row.children[1].firstChild.children;
  point.hidden = !known;
  span.hidden = low === null || high === null;
  if (known) point.style.left = `${place(ratio)}%`;
  if (!span.hidden) {
    span.style.left = `${place(low)}%`;
    span.style.right = `${100 - place(high)}%`;
  }
}

// Where a ratio is on a track from one half to two.
function place(ratio) {
  return Math.min(Math.max(50 + 50 * Math.log2(ratio), 0), 100);
}

function metrics(view) {
  const rows = view.slos.map((slo) => ({
    name: slo.name,
    value: figure(slo.value),
    limit: `${figure(slo.limit)} ${slo.is_stale ? "stale" : slo.is_met ? "met" : "not met"}`,
    kind: slo.is_stale ? "warn" : slo.is_met ? "good" : "bad",
  }));
  const sensed = { ...(view.interval?.machine ?? {}), ...view.kernel };
  const held = new Set(rows.map((row) => row.name));
  for (const [name, value] of Object.entries(sensed)) {
    if (!held.has(name)) rows.push({ name, value: name.endsWith("_bytes") ? `${figure(value / 2 ** 30)} GiB` : figure(value), limit: "", kind: "" });
  }
  const make = (row) => element("tr", {}, element("td", { text: row.name }), element("td", { className: "number" }), element("td"));
  reconcile(at("metrics"), rows, (row) => row.name, make, (made, row) => {
    setText(made.children[1], row.value);
    setText(made.children[2], row.limit);
    made.children[2].className = row.kind;
  });
}

function threads(id, rows, second, share) {
  const filled = Array.from({ length: NR_THREADS }, (_, place) => ({ place, row: rows[place] }));
  const make = () =>
    element("tr", {}, element("td"), element("td"), element("td", {}, element("span", { className: "track" }, element("span", { className: "fill" }))), element("td", { className: "number" }));
  reconcile(at(id), filled, (one) => one.place, make, (made, { row }) => {
    setText(made.children[0], row ? `${row.comm} (${row.tid})` : "");
    made.children[0].title = row ? `${row.comm} (${row.tid})` : "";
    setText(made.children[1], row ? second(row) : "");
    made.children[2].firstChild.hidden = !row;
    made.children[2].firstChild.firstChild.style.width = `${row ? Math.min(share(row), 100) : 0}%`;
    setText(made.children[3], row ? share(row).toFixed(1) : "");
  });
}

function show(view) {
  notices(view);
  if (view.problem) return;
  const counts = view.counts;
  const cost = view.interval ? `${((100 * counts.cpu_s) / Math.max(counts.intervals * view.interval_s, 1e-9)).toFixed(2)}% of a CPU` : "";
  setText(
    at("summary"),
    `Process ${view.pid}: ${view.policy}, each ${figure(view.interval_s)} s; scheduler ${view.scheduler ?? "unknown"}, ` +
      `${view.nr_threads} threads. Made ${counts.made}, put back ${counts.undone}, refused ${counts.refused}, yielded ${counts.yielded}, ` +
      `failed ${counts.failed}, rolled back ${counts.rollbacks}. Own cost about ${cost || "unknown"}.`,
  );
  standing(view);
  guard(view);
  metrics(view);
  threads("running", view.interval?.running ?? [], (row) => String(row.nice), (row) => row.cpu_percent);
  threads("waiting", view.interval?.waiting ?? [], (row) => micros(row.wait_per_switch_us), (row) => row.wait_percent);
}

function addLine(id, row) {
  const log = at("log");
  if ([...log.children].some((child) => child.dataset.key === id)) return;
  const features = Object.entries(row.features).map(([name, value]) => `${name} ${figure(value)}`);
  const line = element("li", { text: row.told });
  if (features.length) line.append(element("span", { className: "faint", text: ` — decided on ${features.join(", ")}` }));
  line.dataset.key = id;
  log.prepend(line);
  while (log.children.length > MOST_LINES) log.lastElementChild.remove();
}

// The line to the server

function onEvent({ kind, id, data }) {
  const content = JSON.parse(data);
  if (kind === "row") {
    state.lastId = id;
    addLine(id, content);
    return;
  }
  state.view = content;
  state.heardAt = performance.now();
  show(content);
  showFreshness();
}

async function readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    left += value;
    let end;
    while ((end = left.indexOf("\n\n")) >= 0) {
      const event = { kind: "message", id: "", data: "" };
      for (const line of left.slice(0, end).split("\n")) {
        const colon = line.indexOf(": ");
        const [name, text] = [line.slice(0, colon), line.slice(colon + 2)];
        if (name === "event") event.kind = text;
        else if (name === "id" || name === "data") event[name] = text;
      }
      left = left.slice(end + 2);
      if (event.data) onEvent(event);
    }
  }
}

// `EventSource` can't send a header, and a token in an address would be kept in histories.
function ask(path, options) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}`, ...options.headers };
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
}

async function listen() {
  for (;;) {
    try {
      const answer = await ask("/events", { headers: { "Last-Event-ID": state.lastId } });
      if (answer.status === 401) return login((await answer.json()).message);
      if (answer.ok) {
        state.connected = true;
        await readEvents(answer.body);
      }
    } catch {
      // It has gone; it is asked again.
    }
    state.connected = false;
    showFreshness();
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

async function undo(id, what) {
  state.undoing.add(id);
  say(`Undoing ${what} …`);
  try {
    const answer = await ask("/undo", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ id }) });
    const told = await answer.json();
    if (!answer.ok) say(`${what} was not undone: ${told.message}`);
    else say(`${what}: ${told.undone.map((one) => one.result).join(", ")}. The agent leaves it alone from now on.`);
  } catch {
    say(`${what} may not be undone: there was no answer.`);
  }
  state.undoing.delete(id);
}

function say(text) {
  setText(at("said"), text);
}

function login(problem) {
  at("login").hidden = false;
  at("main").hidden = true;
  setText(at("login-problem"), sessionStorage.getItem(TOKEN) ? problem : "");
  sessionStorage.removeItem(TOKEN);
  at("token").focus();
}

function open() {
  at("login").hidden = true;
  at("main").hidden = false;
  listen();
}

at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value.trim());
  at("token").value = "";
  open();
});

// The printed address has the token after a `#`, which browsers send nobody.
if (location.hash.startsWith("#token=")) {
  sessionStorage.setItem(TOKEN, location.hash.slice("#token=".length));
  history.replaceState(null, "", location.pathname);
}
setInterval(showFreshness, 500);
if (sessionStorage.getItem(TOKEN)) open();
else login("");
