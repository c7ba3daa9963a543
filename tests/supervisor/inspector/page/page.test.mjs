// The plain functions of the page's script. test_page.py runs this with node.

import assert from "node:assert/strict";
import test from "node:test";

const page = await import(process.env.PAGE);

function node(dn, more = {}) {
  return { dn, state: "HEALTHY", group_state: "RUNNING", not_ready: null, ...more };
}

function tree(...nodes) {
  return new Map(nodes.map((each) => [each.dn, each]));
}

const dns = (nodes) => nodes.map((each) => each.dn);

test("each node comes before its children, whenever it came", () => {
  const nodes = tree(node("root"), node("root.a"), node("root.b"), node("root.a.x"), node("root.b.y"));
  assert.deepEqual(dns(page.inOrder(nodes)), ["root", "root.a", "root.a.x", "root.b", "root.b.y"]);
});

test("a node whose parent is not known is shown all the same", () => {
  assert.deepEqual(dns(page.inOrder(tree(node("root.a.x"), node("root.a.y")))), ["root.a.x", "root.a.y"]);
});

test("a filter chooses by DN and by state", () => {
  const dead = node("root.net", { state: "DEAD", group_state: "BACKOFF" });
  const nodes = tree(node("root"), dead, node("root.web"));
  assert.deepEqual(dns(page.chosen(nodes, "NET", false)), ["root.net"]);
  assert.deepEqual(dns(page.chosen(nodes, "dead", false)), ["root.net"]);
  assert.deepEqual(dns(page.chosen(nodes, "", true)), ["root.net"]);
  assert.deepEqual(dns(page.chosen(nodes, "web", true)), []);
});

test("the state of its group is shown where that says more", () => {
  assert.equal(page.shownState(node("a", { state: "CANCELED", group_state: "BACKOFF" })), "BACKOFF");
  assert.equal(page.shownState(node("a", { state: "DEAD", group_state: "BACKOFF" })), "DEAD");
  assert.equal(page.shownState(node("a", { not_ready: "no peer" })), "not ready");
  assert.equal(page.shownState(node("a")), "HEALTHY");
});

test("events are taken as they are complete", () => {
  const [first, rest] = page.events('event: gone\ndata: {"dns":["a"]}\n\n: nothing new\n\nid: x-1\nevent: log\nda');
  assert.deepEqual(first, [{ id: null, name: "gone", data: { dns: ["a"] } }]);
  const [second, left] = page.events(`${rest}ta: 1\n\n`);
  assert.deepEqual(second, [{ id: "x-1", name: "log", data: 1 }]);
  assert.equal(left, "");
});

test("times are in words", () => {
  const said = [-1, 3.14, 75, 3700, 90000].map(page.duration);
  assert.deepEqual(said, ["0.0 s", "3.1 s", "1 min 15 s", "1 h 1 min", "1 d 1 h"]);
});

test("ten thousand nodes are ordered in a moment", () => {
  const nodes = tree(node("root"));
  for (let i = 0; i < 10000; i++) nodes.set(`root.n${i}`, node(`root.n${i}`));
  assert.equal(page.inOrder(nodes).length, 10001);
});

test("a log record is one line", () => {
  const line = page.logLine({ time: 0, level: 40, dn: "root.a", text: "broken" });
  assert.match(line, /^\d\d:\d\d:\d\d ERROR root\.a: broken$/);
});

test("of many members some are named", () => {
  assert.equal(page.some(["a", "b"]), "a, b");
  assert.equal(page.some(["a", "b", "c", "d"], 2), "a, b and 2 more");
});
