// A block of code: its language, a button that copies it, and the text.

import { element } from "../format.js";
import { copier } from "../copy.js";
import { coloured } from "./colours.js";

function made({ language, text, closed }, budget) {
  budget.left -= 6;
  const node = element("figure", "code");
  const head = node.appendChild(element("figcaption"));
  const name = head.appendChild(element("span", "language", language || "text"));
  const body = node.appendChild(element("pre"));
  body.tabIndex = 0;
  body.setAttribute("aria-label", `Code, ${name.textContent}`);
  body.setAttribute("role", "group");
  const inside = body.appendChild(element("code"));
  fill(inside, text, closed && language, budget);
  head.append(copier(() => inside.textContent, "Copy the code"));
  return node;
}

/** Put more text into a block that is there already. False if it is another block. */
function grow(node, { language, text, closed }, budget) {
  if (!node.matches("figure.code") || node.querySelector(".language").textContent !== (language || "text")) return false;
  fill(node.querySelector("code"), text, closed && language, budget);
  return true;
}

/** Colours come when the block is whole: a text that grows would be coloured again and again. */
function fill(node, text, language, budget) {
  if (language) node.replaceChildren(...coloured(text, language, budget));
  else if (node.childNodes.length === 1 && text.startsWith(node.textContent)) node.append(text.slice(node.textContent.length));
  else node.textContent = text;
}

export const code = { made, grow };
