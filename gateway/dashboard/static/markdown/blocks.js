// Markdown's blocks: what a model's text consists of, as plain data. No HTML: a tag is text as any other.
//
// Every line is looked at once for each level it is nested in, and there are no more than DEPTH of them.

const DEPTH = 10;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]{0,40})/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,200})([-*+]|\d{1,9}[.)])(?:( {1,4})(?=\S)| *\t *| *$| {5})/;
const DELIMITER = /^:?-+:?$/;
const COLUMNS = 60;

/** Blocks of a text; each knows its first line and the one after its last. */
export function blocks(text) {
  return parse(text.replaceAll("\r\n", "\n").split("\n"), 0);
}

function parse(lines, depth) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const block = begun(lines, at, depth) ?? paragraph(lines, at);
    found.push({ ...block, from: at });
    at = block.to;
  }
  return found;
}

/** The block that begins at a line, unless it is a paragraph. */
function begun(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return { kind: "heading", level: heading[1].length, text: title(line, heading), to: at + 1 };
  if (RULE.test(line)) return { kind: "rule", to: at + 1 };
  if (depth < DEPTH && QUOTE.test(line)) return quote(lines, at, depth);
  const item = depth < DEPTH && !isNumber(line) ? ITEM.exec(line) : null;
  if (item) return list(lines, at, item, depth);
  if (line.includes("|") && at + 1 < lines.length && isTable(line, lines[at + 1])) return table(lines, at);
  return null;
}

/** A fence that is never closed has all the rest: so it looks while it is being written. */
function code(lines, at, [opening, fence, language]) {
  const indent = opening.length - opening.trimStart().length;
  let to = at + 1;
  while (to < lines.length && !closes(lines[to], fence)) to += 1;
  const inside = lines.slice(at + 1, to).map((line) => dedented(line, indent));
  return { kind: "code", language, text: inside.join("\n"), closed: to < lines.length, to: Math.min(to + 1, lines.length) };
}

function closes(line, fence) {
  const run = FENCE.exec(line)?.[1] ?? "";
  return run.startsWith(fence) && line.trim() === run;
}

function title(line, [opening]) {
  const text = line.slice(opening.length).trim();
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  return end === 0 || /\s/.test(text[end - 1]) ? text.slice(0, end).trimEnd() : text;
}

function quote(lines, at, depth) {
  let to = at;
  while (to < lines.length && QUOTE.test(lines[to])) to += 1;
  const inside = lines.slice(at, to).map((line) => line.replace(QUOTE, ""));
  return { kind: "quote", blocks: parse(inside, depth + 1), to };
}

function list(lines, at, first, depth) {
  const ordered = /\d/.test(first[2]);
  const indent = first[1].length;
  const items = [];
  let to = at;
  while (to < lines.length) {
    const found = ITEM.exec(lines[to]);
    const another = found && !RULE.test(lines[to]) && found[1].length < indent + 2 && /\d/.test(found[2]) === ordered;
    if (!another) break;
    const inside = item(lines, to, found);
    items.push({ blocks: parse(inside.lines, depth + 1) });
    to = inside.to;
  }
  return { kind: "list", ordered, start: ordered ? Number.parseInt(first[2], 10) : 1, items, to: Math.max(to, at + 1) };
}

/** One item: its own line, what is indented below it, and lines that go on with its paragraph. */
function item(lines, at, [opening, before, mark, gap]) {
  const least = before.length + 2;
  const offset = before.length + mark.length + (gap?.length ?? 1);
  const inside = [lines[at].slice(gap ? opening.length : offset)];
  let to = at + 1;
  let blank = false;
  let fenced = fenceAfter("", inside[0]);
  for (; to < lines.length; to += 1) {
    const line = lines[to];
    const indent = line.search(/\S/);
    if (indent < 0) blank = true;
    else if (indent >= least) blank = false;
    else if (blank || fenced || interrupts(line)) break;
    const text = dedented(line, offset);
    inside.push(text);
    fenced = fenceAfter(fenced, text);
  }
  while (inside.length > 1 && !inside.at(-1).trim()) inside.pop();
  return { lines: inside, to };
}

/** The fence that is open after a line. */
function fenceAfter(open, line) {
  const fence = FENCE.exec(line)?.[1] ?? "";
  if (!open) return fence;
  return fence.startsWith(open) ? "" : open;
}

function dedented(line, most) {
  const indent = line.search(/\S/);
  return line.slice(Math.min(indent < 0 ? line.length : indent, most));
}

/** A number alone is an answer ("4."), not the beginning of a list. */
const isNumber = (line) => /^ {0,9}\d{1,9}[.)][ \t]*$/.test(line);

/** Whether a line ends the paragraph above it. */
function interrupts(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || (ITEM.test(line) && !isNumber(line));
}

function paragraph(lines, at) {
  let to = at + 1;
  while (to < lines.length && lines[to].trim() && !interrupts(lines[to])) {
    if (lines[to].includes("|") && to + 1 < lines.length && isTable(lines[to], lines[to + 1])) break;
    to += 1;
  }
  const text = lines.slice(at, to).map((line) => line.trim().replace(/\\$/, ""));
  return { kind: "paragraph", text: text.join("\n"), to };
}

function isTable(head, rule) {
  if (!rule.includes("-") || !rule.includes("|") || rule.length > 2000) return false;
  const delimiters = cells(rule, rule.length);
  return delimiters.every((cell) => DELIMITER.test(cell)) && cells(head).length === Math.min(delimiters.length, COLUMNS);
}

function table(lines, at) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left"));
  const rows = [];
  let to = at + 2;
  for (; to < lines.length && lines[to].trim() && lines[to].includes("|"); to += 1) {
    rows.push(cells(lines[to]).slice(0, head.length));
  }
  return { kind: "table", head, align, rows, to };
}

/** A row's cells; `\|` is a stroke in one. */
function cells(line, most = COLUMNS) {
  let text = line.trim();
  if (text.startsWith("|")) text = text.slice(1);
  if (text.endsWith("|") && !text.endsWith("\\|")) text = text.slice(0, -1);
  return text.split(/(?<!\\)\|/, most).map((cell) => cell.trim().replaceAll("\\|", "|"));
}
