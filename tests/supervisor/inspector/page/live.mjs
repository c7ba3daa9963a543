// Runs the script of the page in a document that has what the script uses, at an inspector that
// runs. test_page.py starts this with node, and reads what it has come to.

import assert from "node:assert/strict";

const { PAGE, BASE, TOKEN, DN } = process.env;

let waiting = [];

function changed() {
  for (const go of waiting.splice(0)) go();
}

// Wait until something holds; it is asked again after each change of the document.
async function until(holds) {
  while (!holds()) await new Promise((go) => { waiting.push(go); });
}

class Element {
  children = [];
  parent = null;
  dataset = {};
  style = {};
  listeners = {};
  value = "";
  text = "";

  get cells() { return this.children; }
  get childNodes() { return this.children; }
  get firstChild() { return this.children[0] ?? null; }
  get firstElementChild() { return this.firstChild; }

  get nextElementSibling() {
    const siblings = this.parent.children;
    return siblings[siblings.indexOf(this) + 1] ?? null;
  }

  get textContent() { return this.text + this.children.map((each) => each.textContent).join(""); }

  set textContent(text) {
    this.children = [];
    this.text = String(text);
    changed();
  }

  append(...nodes) {
    for (const node of nodes) {
      if (node instanceof Element) this.insertBefore(node, null);
      else this.insertBefore(Object.assign(new Element(), { text: node }), null);
    }
  }

  insertBefore(node, next) {
    if (node.parent) node.remove();
    node.parent = this;
    this.children.splice(next ? this.children.indexOf(next) : this.children.length, 0, node);
    changed();
  }

  remove() {
    this.parent.children.splice(this.parent.children.indexOf(this), 1);
    this.parent = null;
  }

  addEventListener(name, listener) { this.listeners[name] = listener; }
  setAttribute() {}
  showModal() { this.open = true; changed(); }
  close() { this.open = false; }
}

const elements = new Map();
const at = (id) => {
  if (!elements.has(id)) elements.set(id, new Element());
  return elements.get(id);
};
const kept = new Map();
const asked = [];
const fetched = globalThis.fetch;

Object.assign(globalThis, {
  document: { getElementById: at, createElement: () => new Element(), addEventListener() {} },
  location: { hash: `#token=${TOKEN}`, pathname: "/" },
  history: { replaceState() {} },
  sessionStorage: { getItem: (key) => kept.get(key), setItem: (key, text) => kept.set(key, text) },
  window: { addEventListener() {} },
  IntersectionObserver: class { observe() {} unobserve() {} },
  fetch: (target, options) => {
    asked.push(new URL(target, `${BASE}/`));
    return fetched(asked.at(-1), options);
  },
});

const states = () => new Map(at("rows").children.map((row) => [row.cells[0].title, row.cells[1].textContent]));

await import(PAGE);
await until(() => states().size === 501 && at("counts").textContent === "501 HEALTHY");
assert.equal([...states().keys()][0], "root");
assert.equal(at("more").textContent, "");
console.log("drawn");

await until(() => states().get(DN) === "DEAD");
const row = at("rows").children.find((each) => each.cells[0].title === DN);
assert.equal(row.cells[6].textContent, "OSError: no lease");
console.log("the crash is shown");

row.listeners.click();
await until(() => at("why").textContent.startsWith(`${DN} died `));
await until(() => at("crashes").textContent.includes("OSError: no lease"));
await until(() => !at("actions").hidden);
at("restart").listeners.click();
assert.equal(at("asked").textContent, `Restart ${DN}?`);
at("yes").listeners.click();
await until(() => at("done").textContent === `restart: ${DN}`);
assert.deepEqual(new Set(asked.map((each) => each.origin)), new Set([BASE]));
assert(!asked.some((each) => each.href.includes(TOKEN)));
console.log("the group is restarted");
process.exit();
