// The page of an inspector: what a tree does, as it happens.
//
// The first half is plain functions, which a test imports. The second half draws, and asks by
// fetch(): EventSource sends no header, and so no token.

export const ROWS = 2000;
const LINES = 1000;
// Something comes every 15 seconds, unless the loop of the service is blocked.
const SILENCE = 20;

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

// The members of a group in words: a group may have thousands.
export function some(dns, most = 10) {
  const more = dns.length - most;
  return dns.slice(0, most).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function start() {
  const at = (id) => document.getElementById(id);
  const rows = new Map();
  let nodes = new Map();
  let clock = { tree: 0, here: 0 };
  let isConnected = false;
  let isDraining = false;
  let heard = 0;
  let mayControl = false;
  let isDirty = true;
  // The one row that Tab reaches; arrow keys go to the others.
  let reached = null;
  let selected = null;
  let group = null;
  let isStale = false;
  let following = null;
  let asked = null;

  function takeToken() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (!given) return;
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }

  const now = () => clock.tree + (performance.now() - clock.here) / 1000;

  async function ask(target, options = {}) {
    const token = sessionStorage.getItem("token") || "";
    const headers = { ...options.headers, Authorization: `Bearer ${token}` };
    const response = await fetch(target, { ...options, headers });
    if (response.ok) return response;
    let why = response.statusText;
    try { why = (await response.json()).error; } catch { /* it is no JSON */ }
    if (response.status === 403 && options.method !== "POST") why += "; open the address that the service has written";
    throw Object.assign(new Error(why), { status: response.status });
  }

  async function* stream(target, options) {
    const response = await ask(target, options);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard = performance.now();
      const [found, left] = events(rest + value);
      rest = left;
      yield* found;
    }
  }

  const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

  async function watch() {
    for (;;) {
      let why = "the service has ended the connection";
      const picture = new Map();
      let target = picture;
      try {
        for await (const { name, data } of stream("/v1/stream")) {
          clock = { tree: data.time, here: performance.now() };
          if (name === "nodes") {
            for (const node of data.nodes) {
              target.set(node.dn, node);
              if (node.dn === selected) isStale = true;
            }
          } else if (name === "gone") for (const dn of data.dns) target.delete(dn);
          else if (name === "synced") {
            nodes = picture;
            target = nodes;
            isConnected = true;
            mayControl = data.control;
            at("name").textContent = data.name;
            document.title = data.name;
            isDraining = data.draining;
            sayConnected();
          }
          isDirty = true;
        }
      } catch (error) { why = error.message; }
      isConnected = false;
      say(`not connected: ${why}`, "BACKOFF");
      await pause(1000);
    }
  }

  function put(element, text) {
    // What is the same is not written again: that would undo a selection, and cost a layout.
    if (element.textContent !== text) element.textContent = text;
  }

  function say(text, state) {
    put(at("connection"), text);
    at("connection").dataset.state = state;
  }

  function sayConnected() {
    const isSilent = (performance.now() - heard) / 1000 > SILENCE;
    let text = "connected";
    if (isDraining) text += "; the tree drains";
    if (isSilent) text += `; but nothing has come for more than ${SILENCE} s`;
    say(text, isSilent ? "BACKOFF" : "HEALTHY");
  }

  function reach(row) {
    if (reached) reached.tabIndex = -1;
    reached = row;
    if (row) row.tabIndex = 0;
  }

  // Times go on in the rows that are seen only.
  const seen = new Set();
  const sight = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      if (!isIntersecting) seen.delete(target);
      else if (rows.get(target.cells[0].title) === target) {
        seen.add(target);
        drawTimes(target);
      }
    }
  });

  function drawTimes(row) {
    const node = nodes.get(row.cells[0].title);
    if (!node) return;
    put(row.cells[2], duration(now() - node.since));
    put(row.cells[5], node.deadline === null ? "" : duration(node.deadline - now()));
  }

  function newRow(dn) {
    const row = document.createElement("tr");
    row.tabIndex = -1;
    // Without the layout of a table, a browser does not take it for one.
    row.setAttribute("role", "row");
    for (let i = 0; i < 7; i++) {
      const cell = document.createElement("td");
      cell.setAttribute("role", "gridcell");
      row.append(cell);
    }
    row.cells[0].title = dn;
    row.setAttribute("aria-level", String(dn.split(".").length));
    row.addEventListener("focus", () => { reach(row); });
    row.addEventListener("click", () => { choose(dn); });
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") choose(dn);
      else if (event.key === "ArrowDown") row.nextElementSibling?.focus();
      else if (event.key === "ArrowUp") row.previousElementSibling?.focus();
      else if (event.key === "Home") row.parentElement.firstElementChild.focus();
      else if (event.key === "End") row.parentElement.lastElementChild.focus();
      else return;
      event.preventDefault();
    });
    return row;
  }

  // Remove the rows that are not kept. If the focus is on one, a neighbour gets it.
  function keep(kept) {
    if (reached && !kept.has(reached.cells[0].title)) {
      const isFocused = document.activeElement === reached;
      let heir = reached;
      while (heir && !kept.has(heir.cells[0].title)) heir = heir.nextElementSibling;
      if (!heir) heir = reached;
      while (heir && !kept.has(heir.cells[0].title)) heir = heir.previousElementSibling;
      reach(heir);
      if (isFocused) heir?.focus();
    }
    for (const [dn, row] of rows) {
      if (kept.has(dn)) continue;
      row.remove();
      rows.delete(dn);
      seen.delete(row);
      sight.unobserve(row);
    }
  }

  function drawRow(row, node, isAlone) {
    const state = shownState(node);
    const [name, stateCell, , run, deaths, , error] = row.cells;
    // A node without its parents above it has its whole name.
    put(name, isAlone ? node.dn : node.dn.slice(node.dn.lastIndexOf(".") + 1));
    const level = isAlone ? 0 : Math.min(node.dn.split(".").length - 1, 8);
    name.style.paddingLeft = `${0.6 + level}em`;
    put(stateCell, state);
    stateCell.dataset.state = state;
    put(run, String(node.run));
    put(deaths, String(node.deaths || ""));
    put(error, node.not_ready || node.error || "");
    error.title = error.textContent;
    row.setAttribute("aria-selected", String(node.dn === selected));
  }

  function draw() {
    if (isDirty) {
      isDirty = false;
      const text = at("filter").value;
      const unreadyOnly = at("unready").checked;
      const all = chosen(nodes, text, unreadyOnly);
      const shown = all.slice(0, ROWS);
      const isAlone = unreadyOnly || text.trim() !== "";
      at("tree").dataset.names = isAlone ? "whole" : "short";
      keep(new Set(shown.map((node) => node.dn)));
      let next = at("rows").firstElementChild;
      for (const node of shown) {
        let row = rows.get(node.dn);
        if (!row) {
          row = newRow(node.dn);
          rows.set(node.dn, row);
          sight.observe(row);
        }
        if (row === next) next = row.nextElementSibling;
        else at("rows").insertBefore(row, next);
        drawRow(row, node, isAlone);
      }
      if (!reached) reach(at("rows").firstElementChild);
      const counts = new Map();
      for (const node of nodes.values()) counts.set(node.state, (counts.get(node.state) || 0) + 1);
      put(at("counts"), [...counts].map(([state, count]) => `${count} ${state}`).join(", "));
      const more = all.length - shown.length;
      let hint = more ? `${more} more nodes are not drawn: use the filter` : "";
      if (nodes.size && !all.length) hint = "no node is such";
      put(at("more"), hint);
      drawActions();
    }
    // Without a connection, the last picture stays as it was.
    if (!isConnected) return;
    sayConnected();
    for (const row of seen) drawTimes(row);
  }

  const path = (dn, part = "") => `/v1/nodes/${encodeURIComponent(dn)}${part}`;

  function choose(dn) {
    following?.abort();
    following = new AbortController();
    selected = dn;
    group = null;
    isDirty = true;
    isAtEnd = true;
    at("hint").hidden = true;
    at("details").hidden = false;
    at("dn").textContent = dn;
    for (const id of ["why", "done", "log", "stack", "crashes", "values"]) at(id).textContent = "";
    drawActions();
    follow(dn, following.signal);
    refresh(dn, following.signal);
  }

  function drawActions() {
    // That of the root ends with the process.
    at("actions").hidden = !mayControl || !group || !group.members[0].includes(".");
  }

  async function refresh(dn, signal) {
    while (!signal.aborted) {
      isStale = false;
      try {
        const node = await (await ask(path(dn), { signal })).json();
        const stack = await (await ask(path(dn, "/stack"), { signal })).json();
        const { values } = await (await ask("/v1/values", { signal })).json();
        group = node.group;
        drawActions();
        put(at("why"), node.why);
        put(at("stack"), stack.stack || "nothing of it runs");
        const crashes = node.crashes.map((crash) => `run ${crash.run}, after ${duration(crash.uptime)}:\n${crash.traceback}`);
        put(at("crashes"), crashes.reverse().join("\n\n") || "none");
        put(at("values"), values.map((value) => `${value.name} = ${value.repr ?? value.error} (version ${value.version})`).join("\n") || "none");
      } catch (error) {
        if (!signal.aborted) put(at("why"), error.message);
      }
      for (let i = 0; i < 10 && !isStale; i++) await pause(200);
    }
  }

  // The log stays at its end until the user scrolls up. Where it is when a record comes does not
  // tell: lines wrap anew when the width changes.
  const log = at("log");
  let isAtEnd = true;
  let top = 0;
  log.addEventListener("scroll", () => {
    const isBottom = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    if (isBottom || log.scrollTop < top) isAtEnd = isBottom;
    top = log.scrollTop;
  });

  async function follow(dn, signal) {
    let last = null;
    let isError = false;
    while (!signal.aborted) {
      try {
        const headers = last === null ? {} : { "Last-Event-ID": last };
        for await (const { id, name, data } of stream(path(dn, "/logs?follow"), { signal, headers })) {
          if (isError) log.textContent = "";
          isError = false;
          if (name === "missed") log.append(`-- ${data.missed ?? "unknown"} records missing --\n`);
          else { log.append(`${logLine(data)}\n`); last = id; }
          while (log.childNodes.length > LINES) log.firstChild.remove();
          if (isAtEnd) log.scrollTop = log.scrollHeight;
          top = log.scrollTop;
        }
      } catch (error) {
        if (!signal.aborted && last === null) {
          log.textContent = `${error.message}\n`;
          isError = true;
        }
        // There is no such node yet, or no log at all.
        if (error.status === 404) await pause(4000);
      }
      await pause(1000);
    }
  }

  // Not by confirm(): as long as that waits, this script reads nothing, and the service drops it.
  function question(action) {
    asked = { action, dn: selected };
    const verb = action === "restart" ? "Restart" : "Stop";
    at("asked").textContent = `${verb} ${some(group.members)}?`;
    at("yes").textContent = verb;
    at("question").showModal();
  }

  async function act({ action, dn }) {
    at("question").close();
    let said;
    try {
      const { dns } = await (await ask(path(dn, `/${action}`), { method: "POST" })).json();
      said = `${action}: ${some(dns)}`;
    } catch (error) { said = error.message; }
    if (dn === selected) at("done").textContent = said;
  }

  takeToken();
  // The address of another run differs by the fragment only, for which no page is loaded anew.
  window.addEventListener("hashchange", takeToken);
  at("restart").addEventListener("click", () => { question("restart"); });
  at("stop").addEventListener("click", () => { question("stop"); });
  at("yes").addEventListener("click", () => act(asked));
  at("no").addEventListener("click", () => { at("question").close(); });
  at("filter").addEventListener("input", () => { isDirty = true; });
  at("unready").addEventListener("change", () => { isDirty = true; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target.type !== "search" && !at("question").open) { at("filter").focus(); event.preventDefault(); }
  });
  setInterval(draw, 200);
  watch();
}

if (typeof document !== "undefined") start();
