// The settings of a conversation: its title, instructions, tools and sampling.

import { element } from "../format.js";
import { SAMPLING } from "./conversation.js";

const dialog = document.getElementById("chat-settings");
const form = document.getElementById("chat-settings-form");
const numbers = document.getElementById("chat-sampling");
const [title, system, tools, thoughts] = ["title", "system", "tools", "thoughts"].map((name) => form.elements[name]);

for (const { name, label, min, max, step } of SAMPLING) {
  const node = numbers.appendChild(element("label", "field", label));
  const field = node.appendChild(element("input"));
  Object.assign(field, { type: "number", name, min, max, step: Number.isInteger(step) ? step : "any", placeholder: name === "seed" ? "random" : "as served" });
}

let current = null;
let done = null;

/** Show the settings of a conversation; `changed` is called if they are taken. */
export function open(conversation, changed) {
  const { settings } = conversation;
  [current, done] = [conversation, changed];
  title.value = conversation.title;
  system.value = settings.system ?? "";
  tools.value = settings.tools ?? "";
  thoughts.value = settings.thoughts ?? "";
  for (const { name } of SAMPLING) form.elements[name].value = settings[name] ?? "";
  check();
  dialog.showModal();
}

function check() {
  tools.setCustomValidity(problem(tools.value.trim()));
}

/** What is wrong with the tools; "" if nothing is. */
function problem(text) {
  if (!text) return "";
  try {
    return Array.isArray(JSON.parse(text)) ? "" : "The tools are a list: [{\"type\": \"function\", \u2026}]";
  } catch (error) {
    return `This is no JSON: ${error.message}`;
  }
}

function take() {
  current.title = title.value.trim();
  const { settings } = current;
  settings.system = system.value;
  settings.tools = tools.value.trim();
  settings.thoughts = thoughts.value;
  for (const { name } of SAMPLING) {
    const { value } = form.elements[name];
    if (value === "") delete settings[name];
    else settings[name] = Number(value);
  }
}

tools.addEventListener("input", check);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  take();
  dialog.close();
  done();
});
document.getElementById("chat-settings-cancel").addEventListener("click", () => dialog.close());
