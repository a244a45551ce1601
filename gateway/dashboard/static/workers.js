// The worker processes and their slots.

import { bytes, count, element, seconds, whole, write } from "./format.js";

const list = document.getElementById("workers");
const note = document.getElementById("workers-note");
const empty = document.getElementById("workers-empty");
const STATES = { ready: "ready", starting: "starting", draining: "draining", dead: "down" };

/** By worker: the element and its parts, and in which slot each request is shown. */
const shown = new Map();

export function show(store) {
  const workers = store.rows("workers");
  // Those of a model that was unloaded are gone; when it comes back they are others.
  for (const [id, row] of shown) {
    if (workers.some((worker) => worker.id === id)) continue;
    row.node.remove();
    shown.delete(id);
  }
  for (const worker of workers) {
    const row = shown.get(worker.id) ?? made(worker, store.hello.models.length > 1);
    write(row.state, STATES[worker.state]);
    row.state.className = `state ${worker.state}`;
    const where = worker.node === null ? "" : ` on ${worker.node}`;
    write(row.pid, worker.pid === null ? waiting(worker, where) : `pid ${worker.pid}${where}`);
    write(row.restarts, count(worker.restarts, "restart"));
    row.restarts.classList.toggle("some", worker.restarts > 0);
    fill(row, worker);
    memory(row, worker, worker.cells);
  }
  empty.hidden = shown.size > 0;
  write(empty.firstElementChild, "No model is loaded: the first request for one brings it.");
  const { preemptions = 0, failovers = 0 } = store.facts;
  const parts = [preemptions && count(preemptions, "preemption"), failovers && count(failovers, "failover")];
  write(note, parts.filter(Boolean).join(", "));
}

/** What there is of a worker before its process. */
function waiting({ download }, where) {
  if (download === null) return `no process${where}`;
  const [file, done, total] = download;
  return `gets ${file}${where}: ${total === null ? bytes(done) : `${Math.floor((100 * done) / total)} % of ${bytes(total)}`}`;
}

function made(worker, several) {
  const node = element("li", "worker");
  node.dataset.id = worker.id;
  const head = element("div", "line");
  const name = several ? `Worker ${worker.id}, ${worker.model}` : `Worker ${worker.id}`;
  const [state, pid, restarts] = [element("span", "state"), element("span", "pid"), element("span", "restarts")];
  head.append(element("span", "name", name), state, pid, restarts);
  const slots = element("div", "slots");
  slots.setAttribute("role", "img");
  const foot = element("div", "line");
  const [cells, text] = [element("div", "cells"), element("span", "small")];
  cells.append(element("i"));
  foot.append(cells, text);
  node.append(head, slots, foot);
  list.append(node);
  const row = { node, state, pid, restarts, slots, cells, text, held: new Map() };
  shown.set(worker.id, row);
  return row;
}

/** A request stays in the slot where it was first seen. */
function fill(row, worker) {
  const { slots, held } = row;
  while (slots.children.length > worker.slots) slots.lastChild.remove();
  while (slots.children.length < worker.slots) slots.append(element("i", "slot"));
  const now = new Map(worker.held);
  for (const id of held.keys()) if (!now.has(id)) held.delete(id);
  const taken = new Set(held.values());
  for (const id of now.keys()) {
    if (held.has(id)) continue;
    const free = [...slots.children].findIndex((_, at) => !taken.has(at));
    held.set(id, free);
    taken.add(free);
  }
  const kinds = new Map([...held].map(([id, at]) => [at, now.get(id) || "busy"]));
  [...slots.children].forEach((slot, at) => {
    const kind = `slot ${kinds.get(at) ?? ""}`.trim();
    if (slot.className !== kind) slot.className = kind;
  });
  slots.setAttribute("aria-label", `${now.size} of ${count(worker.slots, "slot")} in use${tally(now)}`);
}

function tally(held) {
  const numbers = new Map();
  for (const kind of held.values()) numbers.set(kind || "ending", (numbers.get(kind || "ending") ?? 0) + 1);
  const text = [...numbers].map(([kind, number]) => `${number} ${kind}`).join(", ");
  return text && `: ${text}`;
}

function memory(row, worker, cells) {
  const share = cells ? Math.min(100, (100 * worker.cells_used) / cells) : 0;
  row.cells.firstChild.style.width = `${share}%`;
  const step = worker.step_ms ? `, ${seconds(worker.step_ms / 1000)} a step` : "";
  const kept = worker.host_bytes ? `, ${bytes(worker.host_bytes)} of prefixes` : "";
  write(row.text, `KV ${Math.round(share)} %${kept}${step}`);
  row.text.title = `${whole(worker.cells_used)} of ${whole(cells)} cells in use; prefixes and parked work are in host memory`;
}
