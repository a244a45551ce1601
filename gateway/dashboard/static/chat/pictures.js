// Pictures for models that take them, which the list of models tells. For others there is no control.

import { element } from "../format.js";
import * as key from "../key.js";

const MOST = 8;
const TAKEN = ["image/png", "image/jpeg", "image/gif", "image/bmp"];
/** Bytes and pixels of a side from which on a picture is drawn smaller: models see no more of it. */
const [LARGEST, LONGEST] = [2 * 2 ** 20, 2048];

const attach = document.getElementById("chat-attach");
const field = document.getElementById("chat-pictures");
const shown = document.getElementById("chat-attached");
const text = document.getElementById("chat-text");
const chat = document.getElementById("chat");

let seeing = new Set();
let chosen = [];

/** Ask the server which of its models take pictures. */
export async function learn() {
  const response = await fetch("v1/models", { headers: key.headers() });
  if (!response.ok) return;
  const { data } = await response.json();
  seeing = new Set(data.filter((card) => card.architecture.input_modalities.includes("image")).map(({ id }) => id));
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
  await add([...field.files]);
  field.value = "";
});
attach.addEventListener("click", () => field.click());
text.addEventListener("paste", (event) => take(event, event.clipboardData));
chat.addEventListener("dragover", (event) => {
  if (!attach.hidden && event.dataTransfer.types.includes("Files")) event.preventDefault();
});
chat.addEventListener("drop", (event) => take(event, event.dataTransfer));

/** Take the pictures that are pasted or dropped; what else there is goes its usual way. */
function take(event, data) {
  const files = attach.hidden ? [] : [...data.files].filter(isPicture);
  if (!files.length) return;
  event.preventDefault();
  add(files);
}

const isPicture = ({ type }) => type.startsWith("image/");

async function add(files) {
  for (const file of files.filter(isPicture)) {
    // What the browser can't read is no picture either.
    const url = chosen.length < MOST ? await address(file).catch(() => null) : null;
    if (url !== null && chosen.length < MOST) chosen.push(url);
  }
  shown.replaceChildren(...chosen.map(made));
}

/** A data address in a format that models take, and no larger than they need. */
async function address(file) {
  if (TAKEN.includes(file.type) && file.size <= LARGEST) return read(file);
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL(file.type === "image/jpeg" ? "image/jpeg" : "image/png", 0.9);
}

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
