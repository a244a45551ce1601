// A model's text as nodes. It is made with createElement and text alone, so nothing in it can be markup or a program.

import { element } from "../format.js";
import { blocks } from "./blocks.js";
import { code } from "./code.js";
import { Budget, inline } from "./inline.js";

const ELEMENTS = 20_000;
/** Beyond so many characters a text is shown as it is. */
const LONGEST = 400_000;

/** A place that shows a growing text. Blocks that did not change keep their nodes, and what is selected in them. */
export class Markdown {
  constructor(home) {
    this.home = home;
    this.sources = [];
    this.plain = null;
  }

  show(text) {
    if (text.length > LONGEST) return this.showPlain(text);
    if (this.plain) this.clear();
    const lines = text.replaceAll("\r\n", "\n").split("\n");
    const budget = new Budget(ELEMENTS);
    let number = 0;
    for (const block of blocks(text)) {
      const rest = budget.left <= 0;
      const source = lines.slice(block.from, rest ? lines.length : block.to).join("\n");
      this.put(number, source, rest ? { kind: "plain", text: source } : block, budget);
      number += 1;
      if (rest) break;
    }
    while (this.home.children.length > number) this.home.lastChild.remove();
    this.sources.length = number;
  }

  /** A block in its place; one that is there already costs what it has. */
  put(at, source, block, budget) {
    const old = this.home.children[at];
    if (this.sources[at] === source) budget.left -= 1 + old.getElementsByTagName("*").length;
    else if (!old) this.home.append(made(block, budget));
    else if (block.kind !== "code" || !code.grow(old, block, budget)) old.replaceWith(made(block, budget));
    this.sources[at] = source;
  }

  showPlain(text) {
    if (!this.plain) {
      this.clear();
      this.plain = element("p", "plain");
      this.home.append(this.plain);
    }
    if (this.plain.textContent !== text) this.plain.textContent = text;
  }

  clear() {
    this.home.replaceChildren();
    this.sources = [];
    this.plain = null;
  }
}

const MAKERS = {
  paragraph: ({ text }, budget) => filled("p", text, budget),
  heading: ({ level, text }, budget) => filled(`h${Math.min(6, level + 2)}`, text, budget),
  plain: ({ text }) => element("p", "plain", text),
  rule: () => document.createElement("hr"),
  code: code.made,
  quote: (block, budget) => around("blockquote", block.blocks, budget),
  list,
  table,
};

function made(block, budget) {
  budget.left -= 1;
  return MAKERS[block.kind](block, budget);
}

/** Put blocks into a node. When the budget is spent, what is left is text. */
function fill(node, inside, budget) {
  inside.every((block, at) => {
    const rest = budget.left <= 0;
    node.append(rest ? element("p", "plain", inside.slice(at).map(plainly).join("\n")) : made(block, budget));
    return !rest;
  });
}

function filled(name, text, budget) {
  const node = element(name);
  for (const part of inline(text, budget)) node.append(part);
  return node;
}

function around(name, inside, budget) {
  const node = element(name);
  fill(node, inside, budget);
  return node;
}

function list({ ordered, start, items }, budget) {
  const node = element(ordered ? "ol" : "ul");
  if (ordered && start !== 1) node.start = start;
  items.every((item, at) => {
    const rest = budget.left <= 0;
    node.append(rest ? element("li", "plain", items.slice(at).map(plainly).join("\n")) : entry(item.blocks, budget));
    return !rest;
  });
  return node;
}

/** An item. Its first paragraph has no frame, and may begin with a box. */
function entry([first, ...rest], budget) {
  budget.left -= 1;
  const node = element("li");
  if (first?.kind === "paragraph") {
    const task = /^\[([ xX])\] /.exec(first.text);
    if (task) node.className = "task";
    const text = task ? `${task[1] === " " ? "\u2610" : "\u2611"} ${first.text.slice(4)}` : first.text;
    for (const part of inline(text, budget)) node.append(part);
  } else if (first) node.append(made(first, budget));
  fill(node, rest, budget);
  return node;
}

function table({ head, align, rows }, budget) {
  const frame = element("div", "wide-table");
  frame.tabIndex = 0;
  const node = frame.appendChild(element("table"));
  const row = (cells, name) => {
    budget.left -= 1;
    const line = element("tr");
    head.forEach((_, at) => {
      const cell = filled(name, cells[at] ?? "", budget);
      if (align[at] !== "left") cell.className = align[at];
      if (name === "th") cell.scope = "col";
      line.append(cell);
      budget.left -= 1;
    });
    return line;
  };
  node.appendChild(element("thead")).append(row(head, "th"));
  const body = node.appendChild(element("tbody"));
  rows.every((cells, at) => {
    const rest = budget.left <= 0;
    if (rest) frame.append(element("p", "plain", plainly({ rows: rows.slice(at) })));
    else body.append(row(cells, "td"));
    return !rest;
  });
  return frame;
}

/** All text of a block, without its form. */
function plainly(block) {
  if (block.text !== undefined) return block.text;
  const inside = block.blocks ?? block.items ?? [];
  return inside.length ? inside.map(plainly).join("\n") : [block.head ?? [], ...(block.rows ?? [])].map((row) => row.join(" | ")).join("\n");
}
