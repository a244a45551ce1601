// Conversations in this browser: IndexedDB, a record for each, and a short head of each for the list. What the browser
// does not keep, this tab has until it is left.
//
// Tabs share the records. Each record has a revision, and a tab writes over the one alone that it has read: what another
// tab has written meanwhile stays, and what it has deleted stays deleted.

import { titleOf } from "./conversation.js";

const NAME = "forge-chat";
const VERSION = 2;
const [STORE, HEADS] = ["conversations", "heads"];
const REASONS = {
  QuotaExceededError: "The browser has no room for more conversations.",
  BlockedError: "Another tab has an older page open: with both reloaded, conversations are kept again.",
};

/** Conversations that could not be written, by their ids. */
const unkept = new Map();
const deleted = new Set();
const channel = "BroadcastChannel" in window ? new BroadcastChannel(NAME) : null;
let opening = null;
let readable = true;
let reason = "";

/** Why something is not kept; "" if all is well. */
export const trouble = () => (unkept.size || !readable ? reason : "");

/** Be told when another tab has kept or deleted a conversation: `{ id, gone }`, where null is the id of all. */
export function watch(take) {
  channel?.addEventListener("message", ({ data }) => {
    if (data.gone) drop(data.id);
    take(data);
  });
}

/** Of all conversations what a list shows: id, name, changed. The latest first. */
export async function heads() {
  const kept = await ask("readonly", (transaction) => transaction.objectStore(HEADS).getAll());
  readable = kept !== null;
  return latestFirst(kept ?? [], [...unkept.values()].map(headOf));
}

/** All conversations, the latest first. */
export async function all() {
  const kept = (await ask("readonly", (transaction) => transaction.objectStore(STORE).getAll())) ?? [];
  return latestFirst(kept, [...unkept.values()]);
}

/** What could not be written is newer than what was. */
function latestFirst(kept, newer) {
  const found = new Map([...kept, ...newer].map((each) => [each.id, each]));
  return [...found.values()].sort((one, other) => other.changed - one.changed);
}

/** A conversation; undefined if there is none. */
export async function get(id) {
  return unkept.get(id) ?? (await ask("readonly", (transaction) => transaction.objectStore(STORE).get(id))) ?? undefined;
}

/**
 * Write a conversation. "gone": it was deleted; "changed": another tab has gone on with it. Neither is written then.
 * `quiet`: other tabs need not look at it yet.
 */
export async function keep(conversation, { quiet = false } = {}) {
  if (deleted.has(conversation.id)) return "gone";
  const written = await ask("readwrite", (transaction) => write(transaction, conversation));
  if (deleted.has(conversation.id)) return "gone";
  if (written === null) unkept.set(conversation.id, conversation);
  else unkept.delete(conversation.id);
  if (written === "kept" && !quiet) channel?.postMessage({ id: conversation.id, gone: false });
  return written ?? "unkept";
}

/** Put it into a transaction, unless the record is not the one that this tab knows. */
function write(transaction, conversation) {
  const answer = { result: "kept" };
  const found = transaction.objectStore(HEADS).get(conversation.id);
  found.onsuccess = () => {
    const revision = found.result?.revision ?? 0;
    if (revision !== (conversation.revision ?? 0)) {
      answer.result = found.result ? "changed" : "gone";
      return;
    }
    // At once: the tab's next write may wait for the end of this one already.
    conversation.revision = revision + 1;
    transaction.addEventListener("abort", () => (conversation.revision = revision));
    transaction.objectStore(HEADS).put(headOf(conversation));
    transaction.objectStore(STORE).put(conversation);
  };
  return answer;
}

const headOf = (conversation) => {
  const { id, changed, revision = 0 } = conversation;
  return { id, changed, revision, name: titleOf(conversation) };
};

/** Delete a conversation, or all for null; in other tabs, too. */
export async function forget(id) {
  drop(id);
  await ask("readwrite", (transaction) => {
    const [head, whole] = [HEADS, STORE].map((name) => transaction.objectStore(name));
    const away = (store) => (id === null ? store.clear() : store.delete(id));
    away(head);
    return away(whole);
  });
  channel?.postMessage({ id, gone: true });
}

/** Keep nothing of what was deleted. */
function drop(id) {
  for (const each of id === null ? [...unkept.keys()] : [id]) {
    deleted.add(each);
    unkept.delete(each);
  }
}

/** One transaction, and what came of the request in it; null if the browser refuses it. */
async function ask(mode, work) {
  try {
    const database = await (opening ??= opened());
    const transaction = database.transaction([STORE, HEADS], mode);
    const request = work(transaction);
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error ?? request.error);
    });
    return request.result;
  } catch (error) {
    reason = REASONS[error?.name] ?? "This browser keeps no conversations.";
    return null;
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => upgrade(request);
    request.onsuccess = () => {
      // A later version of the page, in another tab, need not wait for this one.
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new DOMException("", "BlockedError"));
  });
}

/** Version 1 had the conversations alone. */
function upgrade({ result: database, transaction }) {
  if (!database.objectStoreNames.contains(STORE)) database.createObjectStore(STORE, { keyPath: "id" });
  const heads = database.createObjectStore(HEADS, { keyPath: "id" });
  transaction.objectStore(STORE).openCursor().onsuccess = ({ target: { result: cursor } }) => {
    if (!cursor) return;
    heads.put(headOf(cursor.value));
    cursor.continue();
  };
}
