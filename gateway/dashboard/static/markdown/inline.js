// The inside of a line of Markdown: emphasis, code and links as nodes. All else, HTML included, stays text.
//
// Each step takes what is before it and goes on: time is linear in the text, whatever a model writes. Nesting and the
// number of elements are bounded, for a page of a million elements is no page.

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const LINK = /\[((?:[^[\]\\\n]|\\.){0,500})\]\([ \t]{0,8}<?([^\s<>()[\]]{0,2000}(?:\([^\s<>()[\]]{0,200}\)[^\s<>()[\]]{0,200}){0,8})>?(?:[ \t]{1,8}"[^"\n]{0,200}")?[ \t]{0,8}\)/y;
const AUTOLINK = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const BARE = /https?:\/\/[^\s<>"`*|]{1,2000}/y;
const BREAK = /<br ?\/?>/iy;
const DEPTH = 8;
const ELEMENTS = { "*": "em", _: "em", "**": "strong", __: "strong", "~~": "s" };

/** How many elements one text may still become. */
export class Budget {
  constructor(left) {
    this.left = left;
  }

  /** An element, as long as there is some left. */
  spend(name) {
    if (this.left <= 0) return null;
    this.left -= 1;
    return document.createElement(name);
  }
}

/** Text as nodes and strings, for `append`. */
export function inline(text, budget, links = true) {
  return new Line(text, budget, links).parts();
}

/** The address of a link that may be followed: http and https, nothing else; null for others. */
export function address(text) {
  if (!/^https?:\/\//i.test(text)) return null;
  try {
    const url = new URL(text);
    return ["http:", "https:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

class Line {
  constructor(text, budget, links) {
    this.text = text;
    this.budget = budget;
    this.links = links;
    this.at = 0;
    this.frames = [{ mark: "", parts: [] }];
    this.runs = null;
  }

  parts() {
    const { text } = this;
    while (this.at < text.length && this.budget.left > 0) {
      SPECIAL.lastIndex = this.at;
      const found = SPECIAL.exec(text);
      const next = found ? found.index : text.length;
      this.say(text.slice(this.at, next));
      this.at = next;
      if (found) this.step(text[next]);
    }
    this.say(text.slice(this.at));
    while (this.frames.length > 1) this.abandon();
    return this.frames[0].parts;
  }

  step(sign) {
    if (sign === "\\") this.escape();
    else if (sign === "`") this.code();
    else if (sign === "\n") this.lineBreak(1);
    else if (sign === "[") this.link(0) || this.literal(1);
    else if (sign === "!") this.link(1) || this.literal(1);
    else if (sign === "<") this.autolink() || this.literal(1);
    else if (sign === "h") this.bare();
    else this.emphasis(sign);
  }

  /** Text at the end of what is open; neighbours become one. */
  say(text) {
    if (!text) return;
    const { parts } = this.frames.at(-1);
    if (typeof parts.at(-1) === "string") parts[parts.length - 1] += text;
    else parts.push(text);
  }

  add(node) {
    this.frames.at(-1).parts.push(node);
  }

  literal(length) {
    this.say(this.text.slice(this.at, this.at + length));
    this.at += length;
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next !== undefined && PUNCTUATION.test(next)) this.at += 1;
    this.literal(1);
  }

  lineBreak(length) {
    const node = this.budget.spend("br");
    if (node) this.add(node);
    this.at += length;
  }

  code() {
    const length = this.run("`");
    const start = this.at + length;
    const end = this.closing(length, start);
    const node = end < 0 ? null : this.budget.spend("code");
    if (!node) return this.literal(length);
    const inside = this.text.slice(start, end).replaceAll("\n", " ");
    const padded = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim();
    node.textContent = padded ? inside.slice(1, -1) : inside;
    this.add(node);
    this.at = end + length;
  }

  /** How often a sign is repeated here. */
  run(sign) {
    let end = this.at;
    while (this.text[end] === sign) end += 1;
    return end - this.at;
  }

  /** Where the next run of as many backticks is; all runs are looked up once. */
  closing(length, from) {
    if (!this.runs) {
      this.runs = new Map();
      for (const { 0: run, index } of this.text.matchAll(/`+/g)) {
        if (!this.runs.has(run.length)) this.runs.set(run.length, { places: [], next: 0 });
        this.runs.get(run.length).places.push(index);
      }
    }
    const found = this.runs.get(length);
    if (!found) return -1;
    while (found.places[found.next] < from) found.next += 1;
    return found.places[found.next] ?? -1;
  }

  /** `[label](address)`; with `skip` 1 a picture, which becomes a link: none is loaded from elsewhere. */
  link(skip) {
    if (!this.links) return false;
    LINK.lastIndex = this.at + skip;
    const found = LINK.exec(this.text);
    const href = found && address(found[2]);
    const node = href && this.budget.spend("a");
    if (!node) return false;
    aim(node, href);
    node.append(...inline(found[1] || (skip ? "picture" : href), this.budget, false));
    this.add(node);
    this.at = LINK.lastIndex;
    return true;
  }

  autolink() {
    BREAK.lastIndex = this.at;
    const broken = BREAK.exec(this.text);
    if (broken) {
      this.lineBreak(broken[0].length);
      return true;
    }
    AUTOLINK.lastIndex = this.at;
    const found = AUTOLINK.exec(this.text);
    return Boolean(found) && this.links && this.linked(found[1], found[0].length);
  }

  bare() {
    BARE.lastIndex = this.at;
    let found = BARE.exec(this.text)?.[0] ?? "";
    const inWord = /\w/.test(this.text[this.at - 1] ?? "");
    found = trimmed(found, (sign) => ".,;:!?'_~".includes(sign), 20);
    found = trimmed(found, (sign) => sign === ")", found.split(")").length - found.split("(").length);
    if (!found || inWord || !this.links || !this.linked(found, found.length)) this.literal(Math.max(4, found.length));
  }

  linked(text, length) {
    const href = address(text);
    const node = href && this.budget.spend("a");
    if (!node) return false;
    aim(node, href);
    node.textContent = text;
    this.add(node);
    this.at += length;
    return true;
  }

  /** A run of `*`, `_` or `~`: it closes what it can, then opens what it can; the rest is text. */
  emphasis(sign) {
    let left = this.run(sign);
    const [before, after] = [this.text[this.at - 1] ?? " ", this.text[this.at + left] ?? " "];
    const within = sign === "_" && /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after);
    const closes = !/\s/.test(before) && !within;
    const opens = !/\s/.test(after) && !within;
    while (closes && left) {
      const closed = this.close(sign, left);
      if (!closed) break;
      left -= closed;
      this.at += closed;
    }
    while (opens && left && this.frames.length <= DEPTH) {
      const mark = sign.repeat(Math.min(2, left));
      if (!(mark in ELEMENTS)) break;
      this.frames.push({ mark, parts: [] });
      left -= mark.length;
      this.at += mark.length;
    }
    this.literal(left);
  }

  /** Close the nearest open mark of this sign; how many signs that took. */
  close(sign, left) {
    const at = this.frames.findLastIndex(({ mark }) => mark[0] === sign && mark.length <= left);
    const node = at > 0 ? this.budget.spend(ELEMENTS[this.frames[at].mark]) : null;
    if (!node) return 0;
    while (this.frames.length > at + 1) this.abandon();
    const { mark, parts } = this.frames.pop();
    node.append(...parts);
    this.add(node);
    return mark.length;
  }

  /** The innermost open mark has no end: it is text, and what is in it belongs to what is around it. */
  abandon() {
    const { mark, parts } = this.frames.pop();
    this.say(mark);
    for (const part of parts) typeof part === "string" ? this.say(part) : this.add(part);
  }
}

/** A text without up to so many of some signs at its end. */
function trimmed(text, drops, most) {
  let end = text.length;
  while (text.length - end < most && end > 0 && drops(text[end - 1])) end -= 1;
  return text.slice(0, end);
}

/** A link that opens elsewhere and tells that place nothing. */
function aim(node, href) {
  node.href = href;
  node.target = "_blank";
  node.rel = "noopener noreferrer nofollow";
}
