r"""A grammar of texts as one of those texts inside JSON strings. Pure.

A custom tool takes a text, and a model writes it as a string of JSON: a line's end is ``\n``, a
quote ``\"``. So each literal and each expression of the tool's grammar is written for what stands
in JSON for the texts that it matches (:mod:`workers.chat_format.escaped_regex`); the rules stay.

A terminal that may match an escape becomes a rule of that, under another name, and so does each
terminal that is made of it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from workers.chat_format.escaped_regex import (
    Chars,
    Node,
    NotQuotable,
    Reader,
    Repeated,
    chars,
    escape,
    escapes,
    literal,
    pattern,
    written,
)

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
    (?P<comment>(?://|\#)[^\n]*|->\s*\w+)
    | %import\s+common\s*\.\s*(?P<imported>\w+)(?:\s*->\s*(?P<renamed>\w+))?
    | %import\s+common\s*\((?P<imports>[^)]*)\)
    | "(?P<low>(?:\\.|[^"\\\n])+)"\s*\.\.\s*"(?P<high>(?:\\.|[^"\\\n])+)"
    | "(?P<string>(?:\\.|[^"\\\n])*)"(?P<fold>i?)
    | /(?P<regex>(?:\\.|[^/\\\n])+)/(?P<flags>[a-z]*)
    | (?P<ignore>%ignore\b)
    | (?P<defined>(?:(?<=\n)|\A)[ \t]*(?P<terminal>_*[A-Z][A-Z0-9_]*)(?=\s*:))
    | (?P<rule>(?:(?<=\n)|\A)[ \t]*[!?]?_*[a-z]\w*(?=[^\n:]*:))
    | (?P<name>_*[A-Za-z]\w*)
    | (?P<refused>%\w*|[&~@<>/"])
    | (?P<other>[^"/&~@<>%\#\w-]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    """A part of the grammar: what it matches, a terminal that it names, or its text."""

    text: str
    node: Node | None = None
    terminal: str | None = None
    within: str | None = None
    """The terminal in whose definition it stands."""
    ignored: bool = False
    """True if it stands behind ``%ignore``."""


def text_in_json(lark: str) -> str:
    """Return the grammar of the texts that stand in JSON for those of ``lark``.

    Raises :class:`NotQuotable`.
    """
    tokens = list(_tokens(lark))
    changed = _changed(tokens)
    parts: dict[str, list[_Token]] = {}
    for token in tokens:
        if token.within is not None:
            parts.setdefault(token.within, []).append(token)
    written = _Written(parts, changed)
    return "".join(map(written.token, tokens))


def _tokens(lark: str) -> Iterator[_Token]:
    within: str | None = None
    ignored = False
    for found in _TOKEN.finditer(lark):
        if found["defined"] is not None:
            within, ignored = found["terminal"], False
            yield _Token(found[0], terminal=within, within=within)
        elif found["rule"] is not None:
            within, ignored = None, False
            yield _Token(found[0])
        elif found["imported"] is not None:
            yield from _import(found["imported"], found["renamed"] or found["imported"])
        elif found["imports"] is not None:
            for name in found["imports"].split(","):
                yield from _import(name.strip(), name.strip())
        elif found["ignore"] is not None:
            within, ignored = None, True
        elif found["comment"] is None:
            yield from _plain(found, within, ignored)
            ignored = ignored and found[0].isspace()


def _plain(found: re.Match[str], within: str | None, ignored: bool) -> Iterator[_Token]:
    if found["refused"] is not None:
        raise NotQuotable(f"{found['refused']!r} is not for texts in JSON")
    node: Node | None = None
    terminal = None
    if found["low"] is not None:
        node = _range(_value(found["low"]), _value(found["high"]))
    elif found["string"] is not None:
        node = literal(_value(found["string"]), fold=bool(found["fold"]))
    elif found["regex"] is not None:
        node = Reader(found["regex"].replace("\\/", "/"), found["flags"]).read()
    elif found["name"] is not None and found["name"].strip("_")[0].isupper():
        terminal = found["name"]
    if ignored and node is None and terminal is None:
        return
    yield _Token(found[0], node, terminal, within, ignored)


def _import(name: str, as_name: str) -> Iterator[_Token]:
    if name not in COMMON:
        raise NotQuotable(f"there is no common terminal {name[:40]!r}")
    yield _Token(f"\n{as_name}", terminal=as_name, within=as_name)
    yield _Token(": ")
    yield _Token("", Reader(COMMON[name]).read(), within=as_name)
    yield _Token("\n")


def _value(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        raise NotQuotable(f"{text[:40]!r} is no string") from None


def _range(low: str, high: str) -> Node:
    if len(low) != 1 or len(high) != 1 or high < low:
        raise NotQuotable("a range is between two characters")
    inner = "-".join("\\" + end if end in "\\]^-[" else end for end in (low, high))
    return chars(lambda character: low <= character <= high, inner)


def _changed(tokens: list[_Token]) -> dict[str, str]:
    """Return the new names of the terminals that may match an escape."""
    uses: dict[str, set[str]] = {}
    todo = []
    for token in tokens:
        if token.within is None:
            continue
        if token.node is not None and escapes(token.node):
            todo.append(token.within)
        if token.terminal is not None and token.terminal != token.within:
            uses.setdefault(token.terminal, set()).add(token.within)
    found: dict[str, str] = {}
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = f"in_json_{len(found)}"
            todo += uses.get(name, ())
    return found


class _Written:
    """The parts of a grammar as they stand in the other one."""

    def __init__(self, parts: dict[str, list[_Token]], changed: dict[str, str]) -> None:
        """``parts``: the definition of each terminal; ``changed``: the new names of some."""
        self._parts = parts
        self._changed = changed
        self._ignored: set[str] = set()
        """Terminals that need not be ignored once more."""

    def token(self, token: _Token) -> str:
        if token.terminal is not None:
            if token.ignored:
                return self._ignored_terminal(token.terminal)
            head = "\n" if token.text.startswith("\n") else ""
            return head + self._changed.get(token.terminal, token.terminal)
        if token.node is None:
            return token.text
        return _ignored(token.node) if token.ignored else f"({written(token.node)})"

    def _ignored_terminal(self, name: str) -> str:
        if name in self._ignored:
            return ""
        self._ignored.add(name)
        if name not in self._changed:
            return f"\n%ignore {name}\n"
        parts = [part for part in self._parts.get(name, ()) if part.terminal != name]
        nodes = [part.node for part in parts if part.node is not None]
        rest = [part for part in parts if part.node is None]
        if len(nodes) != 1 or any(p.terminal or p.text.strip() not in ("", ":") for p in rest):
            raise NotQuotable("'%ignore' of a terminal that is no single expression")
        return _ignored(nodes[0])


def _ignored(node: Node) -> str:
    """Return what is ignored: terminals alone may be, so each escape by itself."""
    if not escapes(node):
        return f"\n%ignore /{pattern(node)}/\n"
    inner = node.part if isinstance(node, Repeated) and node.times in "+*" else node
    if not isinstance(inner, Chars):
        raise NotQuotable("'%ignore' of more than a set of characters")
    ways = [f"/{inner.plain}+/"] if inner.plain else []
    return "".join(f"\n%ignore {way}\n" for way in [*ways, *map(escape, inner.escaped)])
