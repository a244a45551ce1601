// The chat: one conversation is open, and each may have an answer that is being made.

import { write } from "../format.js";
import { Answering } from "./answering.js";
import * as archive from "./archive.js";
import { answer, detach, fresh, insert, question, titleOf, unanswered } from "./conversation.js";
import * as list from "./list.js";
import * as pictures from "./pictures.js";
import * as settings from "./settings.js";
import * as shortcuts from "./shortcuts.js";
import { Transcript } from "./transcript.js";

const at = (name) => document.getElementById(name);
const [form, text, send, name, choice] = ["form", "text", "send", "name", "model"].map((part) => at(`chat-${part}`));
const SAVE_MS = 2000;
const TICK_MS = 250;

let store = null;
let current = fresh();
/** By conversation: the answer that is being made. */
const running = new Map();

const acts = {
  retry: () => again(),
  edit: (said) => again(said),
  result: (call, said) => respond(call, said),
  open: openKept,
  current: () => current,
  deleted,
};
const transcript = new Transcript(acts);

export function start(known) {
  store = known;
  form.addEventListener("submit", submit);
  text.addEventListener("keydown", typed);
  text.addEventListener("input", fit);
  form.addEventListener("change", chosen);
  at("chat-new").addEventListener("click", begin);
  at("chat-settings-button").addEventListener("click", adjust);
  list.start(acts);
  archive.watch(changedElsewhere);
  shortcuts.start({
    M: { text: "Write a message", act: () => text.focus() },
    N: { text: "New conversation", act: begin },
    C: { text: "Conversations", act: () => at("chat-list-button").click() },
    I: { text: "Instructions and sampling", act: adjust },
    R: { text: "Retry the last answer", act: () => !running.has(current.id) && again() },
    U: { text: "Edit your last message", act: () => !running.has(current.id) && transcript.edit() },
    L: { text: "Large chat, or the whole page", act: () => (location.hash = location.hash === "#chat" ? "#main" : "#chat") },
    K: { text: "These keys", act: shortcuts.show },
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) running.get(current.id)?.stop();
  });
  addEventListener("hashchange", resize);
  setInterval(tick, TICK_MS);
  resize();
  // What is kept may take a while to come: a message that is written before begins a conversation.
  transcript.open(current);
  restore();
}

/** The last conversation is open again when the page is. */
async function restore() {
  const [latest] = await archive.heads();
  const kept = latest && (await archive.get(latest.id));
  if (!current.messages.length) open(kept ?? current);
}

/** Open one of the list. */
async function openKept(id) {
  const conversation = running.get(id)?.conversation ?? (await archive.get(id));
  if (conversation) open(conversation);
  else list.refresh();
}

/** Another tab has kept or deleted a conversation. */
async function changedElsewhere({ id, gone }) {
  if (gone) return deleted(id);
  list.refresh();
  const idle = () => id === current.id && !running.has(id) && !writing();
  const kept = idle() && (await archive.get(id));
  if (kept && idle() && kept.revision !== current.revision) reopen(kept);
}

/** Whether something is being written that would be lost if the conversation was shown anew. */
function writing() {
  const fields = [...document.querySelectorAll("#chat-log textarea")];
  return Boolean(document.querySelector("#chat-settings[open]")) || fields.some(({ value }) => value);
}

/** The models that there are to choose from, and what they are. */
export async function offer(hello) {
  if (choice.length !== hello.models.length) choice.replaceChildren(...hello.models.map((each) => new Option(each)));
  choice.hidden = hello.models.length < 2;
  await pictures.learn();
  show();
}

function open(conversation) {
  reopen(conversation);
  pictures.clear();
}

/** Show a conversation; what is about to be said stays. */
function reopen(conversation) {
  current = conversation;
  transcript.open(current, running.get(current.id));
  show();
  list.refresh();
}

function begin() {
  open(current.messages.length ? fresh({ ...current.settings, seed: undefined }) : current);
  text.focus();
}

/** Controls as the open conversation has them. */
function show() {
  const { models = [] } = store.hello;
  const { settings: chosenOnes } = current;
  if (models.includes(chosenOnes.model)) choice.value = chosenOnes.model;
  form.elements.priority.value = chosenOnes.priority ?? "normal";
  write(name, current.messages.length || current.title ? titleOf(current) : "");
  write(send, running.has(current.id) ? "Stop" : "Send");
  at("chat-tiny").hidden = !store.hello.embedded?.includes(model());
  pictures.offer(model());
}

const model = () => choice.value || store.hello.model;

function chosen() {
  current.settings.model = choice.value;
  current.settings.priority = form.elements.priority.value;
  show();
}

function adjust() {
  settings.open(current, async () => {
    show();
    if (current.messages.length) await keep(current);
  });
}

/** `quiet`: an answer has grown, which no list and no other tab need know. */
async function keep(conversation, quiet = false) {
  const { id } = conversation;
  if (!quiet) conversation.changed = Date.now();
  const state = await archive.keep(conversation, { quiet });
  if (conversation.id !== id) return; // it is kept under another one meanwhile
  if (state === "gone") return deleted(conversation.id);
  if (state === "changed") return keepBeside(conversation);
  if (!quiet) list.refresh();
}

/** Another tab has gone on with it, too: both are kept. */
function keepBeside(conversation) {
  const run = running.get(conversation.id);
  running.delete(conversation.id);
  detach(conversation);
  if (run) running.set(conversation.id, run);
  return keep(conversation);
}

// ------------------------------------------------------------------ writing

function typed(event) {
  const plain = !event.shiftKey && !event.altKey && !event.isComposing;
  // On a phone the key makes a new line: there is a button to send.
  const sends = event.ctrlKey || event.metaKey || !matchMedia("(pointer: coarse)").matches;
  if (event.key !== "Enter" || !plain || !sends) return;
  event.preventDefault();
  if (!running.has(current.id)) form.requestSubmit();
}

/** The field is as high as its text, within bounds that the style sheet has. */
function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

function submit(event) {
  event.preventDefault();
  const run = running.get(current.id);
  if (run) return run.stop();
  const said = text.value.trim();
  if (!said && !pictures.taken().length) return;
  current.messages.push(question(said, pictures.taken()));
  text.value = "";
  pictures.clear();
  fit();
  ask(current);
}

/** Another answer to the last message, or to what it should have been. */
function again(said) {
  const last = current.messages.findLastIndex(({ role }) => role === "user");
  if (last < 0) return;
  const asked = current.messages[last];
  current.messages.length = last;
  current.messages.push(question(said ?? asked.text, asked.pictures));
  text.focus();
  ask(current);
}

/** A tool's result; when all are there the model goes on. */
function respond(call, said) {
  const { from, last } = insert(current.messages, call, said);
  if (last && !unanswered(current.messages, from).length) return ask(current);
  transcript.extend();
  keep(current);
}

// ------------------------------------------------------------------ answers

async function ask(conversation) {
  const message = answer(model());
  conversation.messages.push(message);
  const run = new Answering(conversation, message);
  running.set(conversation.id, run);
  transcript.extend(run);
  show();
  keep(conversation);  // which may take its time, and never fails
  const saving = setInterval(() => keep(conversation, true), SAVE_MS);
  try {
    await run.read(() => current === conversation && transcript.grow(run, store.facts.waiting));
  } finally {
    clearInterval(saving);
    const deletedMeanwhile = running.get(conversation.id) !== run;
    running.delete(conversation.id);
    if (!deletedMeanwhile) keep(conversation);
    if (current === conversation) {
      transcript.refresh();
      show();
    }
  }
}

/** While nothing comes, how long it has not. */
function tick() {
  const run = running.get(current.id);
  if (run) transcript.grow(run, store.facts.waiting);
}

/** A conversation was deleted, or all for null. */
function deleted(id) {
  for (const [each, run] of running) {
    if (id !== null && each !== id) continue;
    running.delete(each);
    run.stop();
  }
  if (id === null || id === current.id) open(fresh({ ...current.settings }));
  else list.refresh();
}

// ------------------------------------------------------------------ size

/** `#chat` is the large chat, so that it has an address and the browser's way back. */
function resize() {
  const large = location.hash === "#chat";
  document.body.classList.toggle("large-chat", large);
  const link = at("chat-large");
  write(link, large ? "Whole page" : "Enlarge");
  link.href = large ? "#main" : "#chat";
  list.toggle(large && matchMedia("(min-width: 60rem)").matches);
  if (large && !matchMedia("(pointer: coarse)").matches) text.focus();
}
