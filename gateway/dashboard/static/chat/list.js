// The conversations that this browser keeps: to open, to delete and to save as files.

import { ago, element, write } from "../format.js";
import * as archive from "./archive.js";
import { titleOf } from "./conversation.js";
import { asJson, asMarkdown, fileName, save } from "./export.js";

const panel = document.getElementById("chat-list");
const button = document.getElementById("chat-list-button");
const rows = document.getElementById("chat-list-rows");
const trouble = document.getElementById("chat-list-trouble");
const deleteAll = document.getElementById("chat-delete-all");

/** `acts`: what the page does for `open(conversation)`, `deleted(id)` and `current()`. */
export function start(acts) {
  button.addEventListener("click", () => toggle(panel.hidden));
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    toggle(false);
    button.focus();
    event.stopPropagation();
  });
  twice(deleteAll, async () => {
    await archive.forgetAll();
    acts.deleted(null);
  });
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
}

/** Draw the list anew. */
export async function refresh(acts) {
  const kept = await archive.all();
  const focused = document.activeElement?.closest?.("#chat-list-rows li")?.dataset.id;
  rows.replaceChildren(...kept.map((conversation) => made(conversation, acts)));
  if (focused) (rows.querySelector(`[data-id="${focused}"] button`) ?? button).focus();
  write(trouble, archive.trouble());
  deleteAll.hidden = !kept.length;
  if (!kept.length) rows.append(element("li", "hint", "Nothing is kept yet."));
}

function made(conversation, acts) {
  const row = element("li");
  row.dataset.id = conversation.id;
  const name = titleOf(conversation);
  const open = row.appendChild(element("button", "quiet pick"));
  open.type = "button";
  open.append(element("span", "name", name), element("span", "when", ago((Date.now() - conversation.changed) / 1000)));
  if (acts.current().id === conversation.id) open.setAttribute("aria-current", "true");
  open.addEventListener("click", () => acts.open(conversation));
  const gone = row.appendChild(element("button", "quiet delete", "Delete"));
  gone.type = "button";
  gone.setAttribute("aria-label", `Delete: ${name}`);
  twice(gone, async () => {
    await archive.forget(conversation.id);
    acts.deleted(conversation.id);
  });
  return row;
}

/** A button that asks again before it acts. */
function twice(target, act) {
  const [text, label] = [target.textContent, target.getAttribute("aria-label")];
  const calm = () => {
    target.classList.remove("sure");
    target.textContent = text;
    if (label) target.setAttribute("aria-label", label);
  };
  target.addEventListener("blur", calm);
  target.addEventListener("click", () => {
    if (target.classList.contains("sure")) {
      calm();
      act();
      return;
    }
    target.classList.add("sure");
    target.textContent = "Sure?";
    if (label) target.setAttribute("aria-label", `Sure? ${label}`);
  });
}
