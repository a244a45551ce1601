// The conversations that this browser keeps: to open, to delete and to save as files.

import { ago, element, write } from "../format.js";
import { twice } from "../twice.js";
import * as archive from "./archive.js";
import { titleOf } from "./conversation.js";
import { asJson, asMarkdown, fileName, save } from "./export.js";

const panel = document.getElementById("chat-list");
const button = document.getElementById("chat-list-button");
const rows = document.getElementById("chat-list-rows");
const trouble = document.getElementById("chat-list-trouble");
const deleteAll = document.getElementById("chat-delete-all");

let acts = null;

/** `given`: what the page does for `open(id)`, `deleted(id)` and `current()`. */
export function start(given) {
  acts = given;
  button.addEventListener("click", () => toggle(panel.hidden));
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    toggle(false);
    button.focus();
    event.stopPropagation();
  });
  twice(deleteAll, () => forget(null));
  const file = (id, work) => document.getElementById(id).addEventListener("click", work);
  file("chat-save-markdown", () => {
    const conversation = acts.current();
    save(asMarkdown(conversation), fileName(titleOf(conversation), "md"), "text/markdown");
  });
  file("chat-save-json", () => {
    const conversation = acts.current();
    save(asJson([conversation]), fileName(titleOf(conversation), "json"), "application/json");
  });
  file("chat-save-all", async () => save(asJson(await archive.all()), "forge-conversations.json", "application/json"));
}

export function toggle(open) {
  panel.hidden = !open;
  button.setAttribute("aria-expanded", String(open));
  refresh();
}

/** What is being made for it ends first, or it would be kept again. */
async function forget(id) {
  acts.deleted(id);
  await archive.forget(id);
  refresh();
}

/** Draw the list anew, if it is seen. */
export async function refresh() {
  if (panel.hidden) return;
  const kept = await archive.heads();
  const focused = document.activeElement?.closest?.("#chat-list-rows li")?.dataset.id;
  rows.replaceChildren(...kept.map(made));
  if (focused) (rows.querySelector(`[data-id="${focused}"] button`) ?? button).focus();
  write(trouble, archive.trouble());
  deleteAll.hidden = !kept.length;
  if (!kept.length) rows.append(element("li", "hint", "Nothing is kept yet."));
}

function made({ id, name, changed }) {
  const row = element("li");
  row.dataset.id = id;
  const open = row.appendChild(element("button", "quiet pick"));
  open.type = "button";
  open.append(element("span", "name", name), element("span", "when", ago((Date.now() - changed) / 1000)));
  if (acts.current().id === id) open.setAttribute("aria-current", "true");
  open.addEventListener("click", () => acts.open(id));
  const gone = row.appendChild(element("button", "quiet delete", "Delete"));
  gone.type = "button";
  gone.setAttribute("aria-label", `Delete: ${name}`);
  twice(gone, () => forget(id));
  return row;
}
