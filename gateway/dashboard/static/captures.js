// Captured requests with their answers, for the page's key if it is an admin's. What they say is
// shown as text alone: it is clients' and models' words.

import { copier } from "./copy.js";
import { ago, element, seconds, whole, write } from "./format.js";
import * as key from "./key.js";
import { twice } from "./twice.js";

const SHOWN = 20;
const EVERY_MS = 10_000;

const card = document.getElementById("captures-card");
const body = document.getElementById("captures");
const note = document.getElementById("captures-note");
const empty = document.getElementById("captures-empty");
const more = document.getElementById("captures-more");
const all = document.getElementById("captures-delete");
const dialog = document.getElementById("capture");
const parts = Object.fromEntries(
  ["title", "facts", "notes", "request", "texts", "answer", "close", "delete", "copy"].map((name) => [
    name,
    document.getElementById(`capture-${name}`),
  ]),
);

let timer = null;
let number = SHOWN;
/** The capture in the dialog. */
let open = null;

/** The server says whether the page's key may read captures. */
export function offer(hello) {
  card.hidden = !hello.captures;
  if (hello.captures) refresh();
}

async function refresh() {
  clearTimeout(timer);
  if (!document.hidden) await list();
  clearTimeout(timer);
  if (!card.hidden) timer = setTimeout(refresh, EVERY_MS);
}

async function ask(path, method = "GET") {
  const response = await fetch(path, { method, headers: key.headers() });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? "not available");
  return answer;
}

async function list() {
  try {
    const { data, has_more } = await ask(`captures?limit=${Math.min(number, 100)}`);
    const focused = document.activeElement?.closest?.("#captures tr")?.dataset.id;
    body.replaceChildren(...data.map(row));
    if (focused) body.querySelector(`[data-id="${focused}"] button`)?.focus();
    empty.hidden = data.length > 0;
    all.hidden = data.length === 0;
    more.hidden = !has_more || number >= 100;
    write(note, has_more ? `the newest ${data.length}` : "");
  } catch (error) {
    write(note, error.message);
  }
}

function row(capture) {
  const node = element("tr");
  node.dataset.id = capture.id;
  const shown = element("button", "quiet", capture.id.slice(0, 12));
  shown.type = "button";
  shown.setAttribute("aria-label", `Show ${capture.id}`);
  shown.addEventListener("click", () => show(capture.id));
  const first = element("td");
  first.append(shown);
  node.append(
    first,
    element("td", "wide text", capture.key || "–"),
    element("td", "wide text", visible(capture.model) || "–"),
    element("td", "text", capture.path),
    element("td", `text ${capture.outcome}`, `${capture.status || "–"} ${capture.outcome}`),
    element("td", "wide", whole(capture.generation_tokens)),
    element("td", "wide", seconds(capture.seconds)),
    element("td", "wide dim", ago(Date.now() / 1000 - capture.created)),
  );
  return node;
}

async function show(id) {
  try {
    open = await ask(`captures/${encodeURIComponent(id)}`);
  } catch (error) {
    write(note, error.message);
    return;
  }
  write(parts.title, open.id);
  parts.facts.replaceChildren(...facts(open).flatMap(([name, value]) => [element("dt", "", name), element("dd", "", visible(value))]));
  parts.notes.replaceChildren(...open.notes.map((each) => element("li", "", each)));
  parts.notes.hidden = open.notes.length === 0;
  parts.request.textContent = indented(open.request);
  parts.texts.textContent = visible(open.texts.map(({ name, text }) => (open.texts.length > 1 ? `${name}: ${text}` : text)).join("\n\n"));
  parts.answer.textContent = indented(open.answer);
  parts.answer.parentElement.open = open.texts.length === 0;
  dialog.showModal();
}

function facts(capture) {
  const { error } = capture;
  return [
    ["Key", capture.key || "none"],
    ["Model", capture.model || "none"],
    ["Request", `${capture.path}, ${capture.request_id}`],
    ["Outcome", `${capture.status || "–"} ${capture.outcome}${error ? `: ${error.code}: ${error.message}` : ""}`],
    ["Time", `${new Date(1000 * capture.created).toISOString()}, ${seconds(capture.seconds)}`],
    ["Tokens", `${whole(capture.prompt_tokens)} (${whole(capture.cached_tokens)} cached) and ${whole(capture.generation_tokens)}`],
    ["Workers", workers(capture)],
    ["First token", seconds(capture.ttft_s)],
    ["Seed", capture.seed === null ? "none" : String(capture.seed)],
    ["Client", capture.headers["user-agent"] ?? "unknown"],
  ];
}

const LEFT = {
  ended: "to the end",
  lost: "it died",
  preempted: "a more urgent request had the slot",
  parked: "its memory was short",
  paused: "the client did not read",
};

/** The workers that had it, one after the other. */
function workers({ attempts = [], failovers = 0, more_attempts }) {
  if (attempts.length === 0) return "none";
  const several = attempts.some(({ choice }) => choice > 0);
  const told = attempts.map(({ choice, worker, node, seconds: took, end }) => {
    const who = `${several ? `answer ${choice + 1}: ` : ""}${worker}${node === null ? "" : ` on ${node}`}`;
    return end === null ? `${who}, still` : `${who} for ${seconds(took)}: ${LEFT[end]}`;
  });
  const after = failovers === 0 ? "" : failovers === 1 ? " (1 failover)" : ` (${failovers} failovers)`;
  return told.join("; ") + (more_attempts ? "; and more" : "") + after;
}

/** JSON as people read it; anything else as it is. */
function indented(text) {
  try {
    return visible(JSON.stringify(JSON.parse(text), null, 2));
  } catch {
    return visible(text);
  }
}

/** Signs that would turn the direction of what follows, written out: a text must not look like another one. */
function visible(text) {
  return text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

async function remove(path, done) {
  try {
    await ask(path, "DELETE");
    done();
  } catch (error) {
    write(note, error.message);
  }
  await list();
}

more.addEventListener("click", () => {
  number += SHOWN;
  list();
});
parts.copy.append(copier(() => open?.request ?? "", "Copy the request"));
parts.close.addEventListener("click", () => dialog.close());
twice(parts.delete, () => remove(`captures/${encodeURIComponent(open.id)}`, () => dialog.close()));
twice(all, () => remove("captures", () => {}));
dialog.addEventListener("close", () => {
  open = null;
  for (const each of [parts.request, parts.texts, parts.answer]) each.textContent = "";
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !card.hidden) refresh();
});
