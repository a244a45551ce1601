// Code in colours: comments, strings, numbers and the words that most languages share. It is a help for the eye and no
// parser: where it errs, a word has another colour.

import { element } from "../format.js";

const LONGEST = 20_000;
const HASH = ["python", "py", "sh", "bash", "shell", "zsh", "ruby", "rb", "yaml", "yml", "toml", "r", "perl", "make", "dockerfile", "ini"];
const DASH = ["sql", "lua", "haskell", "hs", "ada"];
const NONE = ["", "text", "txt", "plain", "md", "markdown", "html", "xml", "diff", "csv", "log", "console"];
const WORDS = new Set(
  (
    "and as assert async await begin break case catch class const constexpr continue def default defer del delete do done " +
    "elif else end enum except export extends extern false False fi finally fn for foreach from func function global go if " +
    "impl implements import in include instanceof interface is lambda let local loop match mod module mut namespace new nil None not " +
    "null or override package pass private protected pub public raise require return self static struct super switch template " +
    "then this throw trait true True try type typedef typeof union unless until use using var virtual void when where while " +
    "with yield select insert update create table into values join on group by order having limit set SELECT INSERT UPDATE " +
    "DELETE CREATE TABLE INTO VALUES JOIN ON GROUP BY ORDER HAVING LIMIT SET FROM WHERE AND OR NOT NULL AS"
  ).split(" "),
);
// A sign after a backslash begins nothing outside of strings either: each end of the text is looked for once.
const ESCAPED = String.raw`\\[^]|`;
const STRING = String.raw`"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|` + "`(?:[^`\\\\]|\\\\.)*`";
const REST = String.raw`|(?<number>\b\d[\w.]*)|(?<word>[A-Za-z_]\w*)`;

function pattern(language) {
  const mark = HASH.includes(language) ? "#" : DASH.includes(language) ? "--" : "//";
  const block = mark === "//" ? String.raw`|/\*(?:[^*]|\*(?!/))*(?:\*/)?` : "";
  const long = HASH.includes(language) ? String.raw`"""(?:[^"]|"(?!""))*"""|` : "";
  return new RegExp(`${ESCAPED}(?<comment>${mark}[^\\n]*${block})|(?<string>${long}${STRING})${REST}`, "g");
}

/** Nodes and strings of a code. */
export function coloured(text, language, budget) {
  const name = language.toLowerCase();
  if (text.length > LONGEST || NONE.includes(name)) return [text];
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(pattern(name))) {
    const { comment, string, number, word } = found.groups;
    const kind = comment ? "comment" : string ? "string" : number ? "number" : WORDS.has(word) ? "word" : "";
    if (!kind) continue;
    if (budget.left <= 0) break;
    budget.left -= 1;
    parts.push(text.slice(at, found.index), element("span", kind, found[0]));
    at = found.index + found[0].length;
  }
  return [...parts, text.slice(at)];
}
