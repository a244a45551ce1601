// The batches of the page's key, asked for now and then while there is something to see.

import { ago, count, element, whole, write } from "./format.js";
import * as key from "./key.js";
import { twice } from "./twice.js";

const SHOWN = 20;
const BUSY_MS = 2_000;
const IDLE_MS = 10_000;
const ACTIVE = new Set(["validating", "in_progress", "finalizing", "cancelling"]);
const ENDING = new Set(["finalizing", "cancelling"]);

const card = document.getElementById("batches-card");
const body = document.getElementById("batches");
const note = document.getElementById("batches-note");
const empty = document.getElementById("batches-empty");

/** By id: the row and its parts. */
const shown = new Map();
let timer = null;

/** The server says whether it has batches. */
export function offer(hello) {
  card.hidden = !hello.batches;
  if (hello.batches) refresh();
}

async function refresh() {
  clearTimeout(timer);
  const busy = document.hidden ? false : await ask();
  clearTimeout(timer);
  if (!card.hidden) timer = setTimeout(refresh, busy ? BUSY_MS : IDLE_MS);
}

/** Whether any batch is at work. */
async function ask() {
  try {
    const response = await fetch(`v1/batches?limit=${SHOWN}`, { headers: key.headers() });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error?.message ?? "not available");
    list(answer.data);
    write(note, answer.has_more ? `the newest ${SHOWN}` : "");
    return answer.data.some(({ status }) => ACTIVE.has(status));
  } catch (error) {
    write(note, error.message);
    return true;
  }
}

function list(batches) {
  const wanted = new Set(batches.map(({ id }) => id));
  for (const [id, row] of shown) {
    if (wanted.has(id)) continue;
    row.node.remove();
    shown.delete(id);
  }
  batches.forEach((batch, at) => {
    const row = shown.get(batch.id) ?? made(batch);
    if (body.children[at] !== row.node) body.insertBefore(row.node, body.children[at] ?? null);
    fill(row, batch);
  });
  empty.hidden = batches.length > 0;
}

function made({ id, endpoint }) {
  const node = element("tr");
  node.dataset.id = id;
  const name = element("td", "", id.slice(0, 14));
  name.title = id;
  const [state, lines, failed] = [element("td", "text"), element("td", "lines"), element("td")];
  const [made_, act] = [element("td", "wide dim"), element("td", "act")];
  const [bar, text] = [element("progress"), element("span")];
  bar.setAttribute("aria-label", `Lines of ${id} that are done`);
  lines.append(bar, text);
  const button = act.appendChild(element("button", "quiet delete", "Cancel"));
  button.type = "button";
  button.setAttribute("aria-label", `Cancel: ${id}`);
  twice(button, () => cancel(id));
  node.append(name, state, element("td", "wide text", endpoint), lines, failed, made_, act);
  const row = { node, state, bar, text, failed, made: made_, button };
  shown.set(id, row);
  return row;
}

function fill(row, batch) {
  const { total, completed, failed } = batch.request_counts;
  const trouble = batch.errors?.data?.[0];
  const reason = trouble ? `${trouble.line ? `line ${trouble.line}: ` : ""}${trouble.message}` : "";
  write(row.state, [batch.status.replace("_", " "), reason].filter(Boolean).join(": "));
  row.state.className = `text ${batch.status}`;
  row.state.title = reason;
  row.bar.max = Math.max(total, 1);
  row.bar.value = completed + failed;
  write(row.text, total ? `${whole(completed + failed)} of ${whole(total)}` : "–");
  row.text.title = count(total, "line");
  write(row.failed, whole(failed));
  row.failed.classList.toggle("failed", failed > 0);
  write(row.made, ago(Date.now() / 1000 - batch.created_at));
  row.button.hidden = !ACTIVE.has(batch.status);
  row.button.disabled = ENDING.has(batch.status);
}

async function cancel(id) {
  try {
    const response = await fetch(`v1/batches/${encodeURIComponent(id)}/cancel`, { method: "POST", headers: key.headers() });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error?.message ?? "it could not be cancelled");
    await refresh();
  } catch (error) {
    write(note, error.message);
  }
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !card.hidden) refresh();
});
