// Pictures for models that take them, which the list of models tells. For others there is no control.

import { element } from "../format.js";
import * as key from "../key.js";

const MOST = 8;
const LARGEST = 10 * 2 ** 20;

const attach = document.getElementById("chat-attach");
const field = document.getElementById("chat-pictures");
const shown = document.getElementById("chat-attached");

let seeing = new Set();
let chosen = [];

/** Ask the server which of its models take pictures. */
export async function learn() {
  const response = await fetch("v1/models", { headers: key.headers() });
  if (!response.ok) return;
  const { data } = await response.json();
  seeing = new Set(data.filter((card) => card.capabilities?.includes("multimodal")).map(({ id }) => id));
}

/** Show the control, or not, as a model is chosen. */
export function offer(model) {
  attach.hidden = !seeing.has(model);
  if (attach.hidden) clear();
}

/** The pictures to send, as data addresses. */
export const taken = () => [...chosen];

export function clear() {
  chosen = [];
  field.value = "";
  shown.replaceChildren();
}

field.addEventListener("change", async () => {
  for (const file of field.files) {
    if (chosen.length >= MOST || file.size > LARGEST || !file.type.startsWith("image/")) continue;
    chosen.push(await read(file));
  }
  field.value = "";
  shown.replaceChildren(...chosen.map(made));
});
attach.addEventListener("click", () => field.click());

function made(url) {
  const button = element("button", "quiet picture");
  button.type = "button";
  button.setAttribute("aria-label", "Leave this picture out");
  const picture = button.appendChild(element("img"));
  picture.alt = "";
  picture.src = url;
  button.addEventListener("click", () => {
    chosen.splice(chosen.indexOf(url), 1);
    button.remove();
    attach.focus();
  });
  return button;
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
