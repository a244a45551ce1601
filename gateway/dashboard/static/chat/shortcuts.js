// The keys of the chat. Each has a button as well; letters need Alt, so that none is in the way of writing.

import { element } from "../format.js";

const dialog = document.getElementById("chat-keys");
const list = document.getElementById("chat-keys-list");

const FIXED = [
  ["Enter", "Send the message"],
  ["Shift + Enter", "A new line"],
  ["Esc", "Stop the answer"],
];

/** `acts`: by the letter that goes with Alt, what it says and does. */
export function start(acts) {
  const letters = Object.entries(acts).map(([letter, { text }]) => [`Alt + ${letter}`, text]);
  for (const [keys, text] of [...FIXED, ...letters]) {
    const name = list.appendChild(element("dt"));
    name.append(element("kbd", "", keys));
    list.append(element("dd", "", text));
  }
  document.addEventListener("keydown", (event) => {
    if (!event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const act = acts[event.code.replace("Key", "")];
    if (!act || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    act.act();
  });
  document.getElementById("chat-keys-button").addEventListener("click", show);
  document.getElementById("chat-keys-close").addEventListener("click", () => dialog.close());
}

export function show() {
  dialog.showModal();
}
