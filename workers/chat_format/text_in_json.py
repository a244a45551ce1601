r"""A grammar of texts as one of JSON strings' insides. Pure.

A custom tool takes a text, and a model writes it as a string of JSON: a line's end is ``\n``, a
quote ``\"``. So each literal and each expression of the tool's grammar is written for the text that
stands for what it matches; the rules around them stay.

In numbers: ``/[^a]/`` has 35 characters that JSON escapes (``"``, ``\``, 32 controls), and
becomes ``(?:[[^a]--["\\\x00-\x1F]]|\\u0000|...|\\"|\\\\)``; ``"a\n"`` becomes ``"a\\n"``.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator

ESCAPED = '"\\' + "".join(map(chr, range(32)))
"""The characters that JSON escapes."""
PLAIN = r'"\\\x00-\x1F'
"""The same, inside of a class."""
CLASSES = "dDwWsS"
ASSERTIONS = "bBAzZG"
CHARACTERS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[0-9a-fA-F]",
    "INT": "[0-9]+",
    "SIGNED_INT": "[+-]?[0-9]+",
    "DECIMAL": r"[0-9]+\.[0-9]*|\.[0-9]+",
    "FLOAT": r"[0-9]+[eE][+-]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?",
    "NUMBER": r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?",
    "SIGNED_NUMBER": r"[+-]?([0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?)",
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[a-zA-Z]",
    "WORD": "[a-zA-Z]+",
    "CNAME": "[_a-zA-Z][_a-zA-Z0-9]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(\r?\n)+",
}
"""Terminals that grammars import."""

_TOKEN = re.compile(
    r"""
    (?P<comment>(?://|\#)[^\n]*)
    | (?P<import>%import\s+common\s*\.\s*(?P<one>\w+)(?:\s*->\s*(?P<named>\w+))?)
    | (?P<several>%import\s+common\s*\((?P<names>[^)]*)\))
    | (?P<range>(?P<low>"(?:\\.|[^"\\\n])+")\s*\.\.\s*(?P<high>"(?:\\.|[^"\\\n])+"))
    | (?P<string>"(?:\\.|[^"\\\n])*")(?P<fold>i?)
    | /(?P<regex>(?:\\.|[^/\\\n])+)/(?P<flags>[a-z]*)
    | (?P<refused>%(?!ignore\b)\w*|[&~@<>/"])
    | (?P<other>[^"/&~@<>%\#]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class NotQuotable(ValueError):
    """The grammar has something that can't be written inside JSON; the text says what."""


def text_in_json(lark: str) -> str:
    """Return the grammar of the texts that stand in JSON for those of ``lark``.

    Raises :class:`NotQuotable`.
    """
    return "".join(map(_token, _TOKEN.finditer(lark)))


def _token(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "import":
            return _terminal(found["one"], found["named"])
        case "several":
            return "\n".join(_terminal(name.strip(), None) for name in found["names"].split(","))
        case "range":
            low, high = _value(found["low"]), _value(found["high"])
            if len(low) != 1 or len(high) != 1:
                raise NotQuotable("a range is between two characters")
            return _between(f"[{_in_class(low)}-{_in_class(high)}]", "")
        case "fold":
            return _literal(_value(found["string"]), found["fold"])
        case "flags":
            return _between(found["regex"].replace("\\/", "/"), found["flags"])
        case "refused":
            raise NotQuotable(f"{found['refused']!r} is not for texts in JSON")
        case "comment":
            return ""
    return found[0]


def _terminal(name: str, as_name: str | None) -> str:
    if name not in COMMON:
        raise NotQuotable(f"there is no common terminal {name[:40]!r}")
    return f"{as_name or name}: {_between(COMMON[name], '')}"


def _value(literal: str) -> str:
    try:
        return str(json.loads(literal))
    except ValueError:
        raise NotQuotable(f"{literal[:40]} is no string") from None


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _literal(text: str, fold: str) -> str:
    """Return a literal; where letters of both cases match, those of escapes still don't."""
    if not fold or not any(character in ESCAPED for character in text):
        return json.dumps(_as_json(text), ensure_ascii=False) + fold
    parts = re.findall(r'[^"\\\x00-\x1f]+|["\\\x00-\x1f]+', text)
    written = (
        json.dumps(_as_json(part), ensure_ascii=False) + ("" if part[0] in ESCAPED else fold)
        for part in parts
    )
    return f"({' '.join(written)})"


def _between(pattern: str, flags: str) -> str:
    """Return an expression as Lark writes it."""
    if set(flags) - set("isu"):
        raise NotQuotable(f"the flags {flags[:10]!r} of an expression")
    return f"/{_Expression(pattern, flags).quoted().replace('/', chr(92) + '/')}/"


class _Expression:
    """One regular expression, read from its first character to its last."""

    def __init__(self, pattern: str, flags: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._flags = [flags]
        """Those of the groups that are open, the innermost last."""

    def quoted(self) -> str:
        return "".join(self._pieces())

    def _pieces(self) -> Iterator[str]:
        while self._at < len(self._pattern):
            character = self._pattern[self._at]
            self._at += 1
            if character == "(":
                yield self._open()
            elif character == ")":
                if len(self._flags) == 1:
                    raise NotQuotable("a bracket that was not opened")
                self._flags.pop()
                yield ")"
            elif character == "[":
                yield self._class()
            elif character == "\\":
                yield self._escape()
            elif character == ".":
                yield self._any()
            elif character in "^$":
                raise NotQuotable(f"the anchor {character!r} in an expression")
            elif character in "|*+?":
                yield character
            elif character == "{":
                yield self._repeat()
            else:
                yield self._character(character)

    def _any(self) -> str:
        if "s" in self._flags[-1]:
            return self._set(r"[\s\S]", r"\s\S")
        return self._set(r"[^\n]", r"^\n")

    def _take(self, pattern: str) -> str:
        """Return what matches here, and go on behind it; "" if nothing does."""
        found = re.compile(pattern).match(self._pattern, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _open(self) -> str:
        flags = self._flags[-1]
        if more := self._take(r"\?[is]*:"):
            flags += more[1:-1]
        elif self._pattern.startswith("?", self._at):
            raise NotQuotable("a group that begins with '(?'")
        self._flags.append(flags)
        return "(?:"

    def _repeat(self) -> str:
        times = self._take(r"[0-9]+(,[0-9]*)?\}")
        return "{" + times if times else self._character("{")

    def _class(self) -> str:
        inner = self._take(r"\^?\]?(?:\\.|[^\]\\\[])*(?=\])")
        if not inner or re.search(r"&&|--|~~", inner) or not self._take(r"\]"):
            raise NotQuotable("a class of characters of an unusual form")
        return self._set(f"[{inner}]", inner)

    def _escape(self) -> str:
        kind = self._take(r"(?s:.)")
        if kind in CLASSES:
            return self._set(f"\\{kind}", f"\\{kind}")
        if kind in ("p", "P"):
            return self._property(kind)
        if not kind or kind in ASSERTIONS or kind in "123456789":
            raise NotQuotable(f"'\\{kind}' in an expression")
        if kind in "xu":
            return self._character(self._numbered(kind))
        return self._character(CHARACTERS.get(kind, kind))

    def _numbered(self, kind: str) -> str:
        usual = "[0-9a-fA-F]{2}" if kind == "x" else "[0-9a-fA-F]{4}"
        digits = self._take(rf"\{{[0-9a-fA-F]{{1,6}}\}}|{usual}")
        try:
            return chr(int(digits.strip("{}"), 16))
        except (ValueError, OverflowError):
            raise NotQuotable("an escape without a character") from None

    def _property(self, kind: str) -> str:
        name = self._take(r"\{\^?\w{1,2}\}|\w").strip("{}")
        if not name or name.startswith("^"):
            raise NotQuotable("a property of characters that is no general category")

        def has(character: str) -> bool:
            return unicodedata.category(character).startswith(name) == (kind == "p")

        return self._chosen(has, f"\\{kind}{{{name}}}")

    def _set(self, python: str, inner: str) -> str:
        """Return a set of characters, which Python's ``re`` writes as the first."""
        try:
            known = re.compile(python, re.IGNORECASE if "i" in self._flags[-1] else 0)
        except re.error as error:
            raise NotQuotable(f"a class of characters: {error}") from None
        return self._chosen(lambda character: known.fullmatch(character) is not None, inner)

    def _chosen(self, has: Callable[[str], bool], inner: str) -> str:
        ways = [self._folded(f"[[{inner}]--[{PLAIN}]]")]
        ways += [_escaped(_as_json(character)) for character in ESCAPED if has(character)]
        return f"(?:{'|'.join(ways)})"

    def _character(self, character: str) -> str:
        if character in ESCAPED:
            return f"(?:{_escaped(_as_json(character))})"
        return self._folded(_escaped(character))

    def _folded(self, plain: str) -> str:
        return f"(?i:{plain})" if "i" in self._flags[-1] else plain


def _escaped(text: str) -> str:
    """Return an expression that matches a text alone."""
    return re.sub(r"[][\\.^$|?*+(){}&~#/-]", r"\\\g<0>", text)


def _in_class(character: str) -> str:
    return "\\" + character if character in "\\]^-[" else character
