// Conversations in this browser: IndexedDB, a record for each. A browser that keeps nothing still has them until it leaves.

const NAME = "forge-chat";
const STORE = "conversations";

const memory = new Map();
const channel = "BroadcastChannel" in window ? new BroadcastChannel(NAME) : null;
let opening = null;
let broken = "";

/** Why nothing is kept; "" if all is well. */
export const trouble = () => broken;

/** Be told when another tab has kept or deleted something. */
export function watch(take) {
  channel?.addEventListener("message", take);
}

/** All conversations, the latest first. */
export async function all() {
  const found = (await ask("readonly", (store) => store.getAll())) ?? [...memory.values()];
  return found.sort((one, other) => other.changed - one.changed);
}

export async function keep(conversation) {
  memory.set(conversation.id, conversation);
  await ask("readwrite", (store) => store.put(conversation));
  channel?.postMessage("changed");
}

export async function forget(id) {
  memory.delete(id);
  await ask("readwrite", (store) => store.delete(id));
  channel?.postMessage("changed");
}

export async function forgetAll() {
  memory.clear();
  await ask("readwrite", (store) => store.clear());
  channel?.postMessage("changed");
}

/** One transaction; null if the browser refuses it. */
async function ask(mode, work) {
  try {
    const database = await (opening ??= opened());
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
    });
    broken = "";
    return request.result;
  } catch (error) {
    broken = error?.name === "QuotaExceededError" ? "The browser has no room for more conversations." : "This browser keeps no conversations.";
    return null;
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
}
