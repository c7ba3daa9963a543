// The page of an inspector: what a tree does, as it happens.
//
// The first half is plain functions, which a test imports. The second half draws, and asks by
// fetch(): EventSource sends no header, and so no token.

export const ROWS = 2000;
const LINES = 1000;

export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 60) return `${s.toFixed(1)} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(s % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function isReady(node) {
  return (node.state === "HEALTHY" || node.state === "DONE") && node.not_ready === null
    && (node.group_state === "RUNNING" || node.group_state === "FINISHED");
}

// What is shown as the state of a node: that of its group, where that says more.
export function shownState(node) {
  if (node.group_state !== "RUNNING" && node.group_state !== "FINISHED" && node.state !== "DEAD") return node.group_state;
  return node.not_ready === null ? node.state : "not ready";
}

// Nodes each before its children, in the order in which they were first seen.
export function inOrder(nodes) {
  const children = new Map();
  const tops = [];
  for (const node of nodes.values()) {
    const parent = node.dn.slice(0, Math.max(0, node.dn.lastIndexOf(".")));
    if (!nodes.has(parent)) tops.push(node);
    else if (children.has(parent)) children.get(parent).push(node);
    else children.set(parent, [node]);
  }
  const found = [];
  const rest = tops.reverse();
  while (rest.length) {
    const node = rest.pop();
    found.push(node);
    const below = children.get(node.dn);
    if (below) for (let i = below.length - 1; i >= 0; i--) rest.push(below[i]);
  }
  return found;
}

export function chosen(nodes, text, unreadyOnly) {
  const wanted = text.trim().toLowerCase();
  return inOrder(nodes).filter((node) => (!unreadyOnly || !isReady(node))
    && (!wanted || `${node.dn} ${shownState(node)}`.toLowerCase().includes(wanted)));
}

// Take the complete events out of what has come of a stream; return them, and the rest.
export function events(text) {
  const blocks = text.split("\n\n");
  const rest = blocks.pop();
  const found = [];
  for (const block of blocks) {
    const event = { id: null, name: "", data: "" };
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) event.name = line.slice(7);
      else if (line.startsWith("data: ")) event.data += line.slice(6);
      else if (line.startsWith("id: ")) event.id = line.slice(4);
    }
    if (event.name) found.push({ ...event, data: JSON.parse(event.data) });
  }
  return [found, rest];
}

export function logLine(entry) {
  const names = { 10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL" };
  const time = new Date(entry.time * 1000).toTimeString().slice(0, 8);
  return `${time} ${names[entry.level] || entry.level} ${entry.dn}: ${entry.text}`;
}

function start() {
  const at = (id) => document.getElementById(id);
  const rows = new Map();
  let nodes = new Map();
  let clock = { tree: 0, here: 0 };
  let isDirty = true;
  let selected = null;
  let following = null;

  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  const token = sessionStorage.getItem("token") || "";
  const now = () => clock.tree + (performance.now() - clock.here) / 1000;

  async function ask(target, options = {}) {
    const headers = { ...options.headers, Authorization: `Bearer ${token}` };
    const response = await fetch(target, { ...options, headers });
    if (response.ok) return response;
    let why = response.statusText;
    try { why = (await response.json()).error; } catch { /* it is no JSON */ }
    throw new Error(why);
  }

  async function* stream(target, options) {
    const response = await ask(target, options);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const [found, left] = events(rest + value);
      rest = left;
      yield* found;
    }
  }

  const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

  async function watch() {
    for (;;) {
      let why = "the service does not answer";
      const picture = new Map();
      let target = picture;
      try {
        for await (const { name, data } of stream("/v1/stream")) {
          clock = { tree: data.time, here: performance.now() };
          if (name === "nodes") for (const node of data.nodes) target.set(node.dn, node);
          else if (name === "gone") for (const dn of data.dns) target.delete(dn);
          else if (name === "synced") {
            nodes = picture;
            target = nodes;
            at("name").textContent = data.name;
            document.title = data.name;
            say(data.draining ? "connected; the tree drains" : "connected", "HEALTHY");
          }
          isDirty = true;
        }
      } catch (error) { why = error.message; }
      say(`not connected: ${why}`, "BACKOFF");
      await pause(1000);
    }
  }

  function say(text, state) {
    at("connection").textContent = text;
    at("connection").dataset.state = state;
  }

  function newRow(dn) {
    const row = document.createElement("tr");
    row.tabIndex = 0;
    for (let i = 0; i < 7; i++) row.append(document.createElement("td"));
    const level = Math.min(dn.split(".").length - 1, 30);
    row.cells[0].style.paddingLeft = `${0.6 + level * 1.2}em`;
    row.cells[0].textContent = dn.slice(dn.lastIndexOf(".") + 1);
    row.cells[0].title = dn;
    row.addEventListener("click", () => { choose(dn); });
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter") choose(dn);
      else if (event.key === "ArrowDown") row.nextElementSibling?.focus();
      else if (event.key === "ArrowUp") row.previousElementSibling?.focus();
      else return;
      event.preventDefault();
    });
    return row;
  }

  function draw() {
    if (isDirty) {
      isDirty = false;
      const all = chosen(nodes, at("filter").value, at("unready").checked);
      const shown = all.slice(0, ROWS);
      const kept = new Set(shown.map((node) => node.dn));
      for (const [dn, row] of rows) if (!kept.has(dn)) { row.remove(); rows.delete(dn); }
      let next = at("rows").firstElementChild;
      for (const node of shown) {
        let row = rows.get(node.dn);
        if (!row) { row = newRow(node.dn); rows.set(node.dn, row); }
        if (row === next) next = row.nextElementSibling;
        else at("rows").insertBefore(row, next);
        const state = shownState(node);
        row.cells[1].textContent = state;
        row.cells[1].dataset.state = state;
        row.cells[3].textContent = node.run;
        row.cells[4].textContent = node.deaths || "";
        row.cells[6].textContent = node.not_ready || node.error || "";
        row.cells[6].title = row.cells[6].textContent;
        row.setAttribute("aria-selected", String(node.dn === selected));
      }
      const counts = new Map();
      for (const node of nodes.values()) counts.set(node.state, (counts.get(node.state) || 0) + 1);
      at("counts").textContent = [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
      const more = all.length - shown.length;
      at("more").textContent = more ? `${more} more nodes are not drawn: use the filter` : "";
    }
    for (const [dn, row] of rows) {
      const node = nodes.get(dn);
      if (!node) continue;
      row.cells[2].textContent = duration(now() - node.since);
      row.cells[5].textContent = node.deadline === null ? "" : duration(node.deadline - now());
    }
  }

  const path = (dn, part = "") => `/v1/nodes/${encodeURIComponent(dn)}${part}`;

  function choose(dn) {
    following?.abort();
    following = new AbortController();
    selected = dn;
    isDirty = true;
    at("hint").hidden = true;
    at("details").hidden = false;
    at("dn").textContent = dn;
    for (const id of ["why", "done", "log", "stack", "crashes", "values"]) at(id).textContent = "";
    follow(dn, following.signal);
    refresh(dn, following.signal);
  }

  async function refresh(dn, signal) {
    while (!signal.aborted) {
      try {
        const node = await (await ask(path(dn), { signal })).json();
        const stack = await (await ask(path(dn, "/stack"), { signal })).json();
        const { values } = await (await ask("/v1/values", { signal })).json();
        at("why").textContent = node.why;
        at("stack").textContent = stack.stack || "nothing of it runs";
        const crashes = node.crashes.map((crash) => `run ${crash.run}, after ${duration(crash.uptime)}:\n${crash.traceback}`);
        at("crashes").textContent = crashes.reverse().join("\n\n") || "none";
        at("values").textContent = values.map((value) => `${value.name} = ${value.repr ?? value.error} (version ${value.version})`).join("\n") || "none";
      } catch (error) {
        if (!signal.aborted) at("why").textContent = error.message;
      }
      await pause(2000);
    }
  }

  async function follow(dn, signal) {
    const log = at("log");
    let last = null;
    while (!signal.aborted) {
      try {
        const headers = last === null ? {} : { "Last-Event-ID": last };
        for await (const { id, name, data } of stream(path(dn, "/logs?follow"), { signal, headers })) {
          const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
          if (name === "missed") log.append(`-- ${data.missed ?? "unknown"} records missing --\n`);
          else { log.append(`${logLine(data)}\n`); last = id; }
          while (log.childNodes.length > LINES) log.firstChild.remove();
          if (isAtEnd) log.scrollTop = log.scrollHeight;
        }
      } catch (error) {
        if (!signal.aborted && last === null) log.textContent = `${error.message}\n`;
      }
      await pause(1000);
    }
  }

  async function act(action) {
    const dn = selected;
    if (!window.confirm(`Really ${action} the group of ${dn}?`)) return;
    try {
      const { dns } = await (await ask(path(dn, `/${action}`), { method: "POST" })).json();
      at("done").textContent = `${action}: ${dns.join(", ")}`;
    } catch (error) { at("done").textContent = error.message; }
  }

  at("restart").addEventListener("click", () => act("restart"));
  at("stop").addEventListener("click", () => act("stop"));
  at("filter").addEventListener("input", () => { isDirty = true; });
  at("unready").addEventListener("change", () => { isDirty = true; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target.tagName !== "INPUT") { at("filter").focus(); event.preventDefault(); }
  });
  setInterval(draw, 200);
  watch();
}

if (typeof document !== "undefined") start();
