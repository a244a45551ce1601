// What each key has used of each model, asked for now and then by an admin's page.

import { element, whole, write } from "./format.js";
import * as key from "./key.js";

const PERIOD_MS = 10_000;
const DAY_S = 86_400;
const COUNTS = ["requests", "prompt_tokens", "cached_tokens", "output_tokens"];

const card = document.getElementById("usage-card");
const body = document.getElementById("usage");
const note = document.getElementById("usage-note");
const empty = document.getElementById("usage-empty");
const days = document.getElementById("usage-days");

let timer = null;
/** Which question the newest answer must be to. */
let asked = 0;

/** The server says whether this key may see it. */
export function offer(hello) {
  card.hidden = !hello.usage;
  if (hello.usage) refresh();
}

async function refresh() {
  clearTimeout(timer);
  if (!document.hidden) await ask();
  clearTimeout(timer);
  if (!card.hidden) timer = setTimeout(refresh, PERIOD_MS);
}

async function ask() {
  const mine = (asked += 1);
  const today = Math.floor(Date.now() / 1000 / DAY_S) * DAY_S;
  const since = today - (Number(days.value) - 1) * DAY_S;
  try {
    const query = `by=day&since=${since}&limit=10000`;
    const response = await fetch(`usage?${query}`, { headers: key.headers() });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error?.message ?? "not available");
    if (mine !== asked) return;
    list(summed(answer.data));
    write(note, answer.stored ? "days in UTC" : "since the server's start, in memory");
  } catch (error) {
    write(note, error.message);
  }
}

/** One row for each key and model, those with the most tokens first. */
function summed(rows) {
  const found = new Map();
  for (const row of rows) {
    const at = JSON.stringify([row.key, row.model]);
    const sum = found.get(at) ?? { key: row.key, model: row.model, ...Object.fromEntries(COUNTS.map((name) => [name, 0])) };
    for (const name of COUNTS) sum[name] += row[name];
    found.set(at, sum);
  }
  const tokens = (row) => row.prompt_tokens + row.output_tokens;
  return [...found.values()].sort((a, b) => tokens(b) - tokens(a));
}

function list(rows) {
  const cells = rows.map((row) => {
    const node = element("tr");
    node.append(element("td", "", row.key ?? "(no key)"), element("td", "text", row.model));
    for (const name of COUNTS) {
      node.append(element("td", name === "cached_tokens" ? "wide" : "", whole(row[name])));
    }
    return node;
  });
  body.replaceChildren(...cells);
  empty.hidden = rows.length > 0;
}

days.addEventListener("change", refresh);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !card.hidden) refresh();
});
