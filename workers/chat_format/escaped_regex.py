r"""A regular expression as the texts that it matches stand inside JSON. Pure.

JSON writes 34 characters as escapes (``"``, ``\``, 32 controls). A lexer that reads the backslash
of one must not have to look ahead for whose it is, so no terminal holds both: an expression becomes
a rule of terminals without escapes and of escapes, each a literal of its own. What can match no
such character stays one terminal.

In numbers: ``/a[^b]+/`` becomes ``/a/ (/[[^b]--["\\\x00-\x1F]]+/ | "\\\"" | "\\\\" | ...)+``, with
34 escapes.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ESCAPED = '"\\' + "".join(map(chr, range(32)))
"""The characters that JSON escapes."""
PLAIN = r'"\\\x00-\x1F'
"""The same, inside of a class."""
CLASSES = "dDwWsS"
ASSERTIONS = "bBAzZG"
CHARACTERS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}


class NotQuotable(ValueError):
    """The grammar has something that can't be written inside JSON; the text says what."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character: of those that stand as they are, and of those that are escaped."""

    plain: str
    """An expression; "": none."""
    escaped: str = ""
    """The characters themselves."""


@dataclass(frozen=True, slots=True)
class InOrder:
    """One after the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One of these."""

    ways: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeated:
    """Repetitions of a part. ``times`` is as expressions write it: ``+``, ``{2,3}``."""

    part: "Node"
    times: str


Node = Chars | InOrder | Either | Repeated


def written(node: Node) -> str:
    """Return a node in Lark."""
    if not escapes(node):
        return _terminal(pattern(node))
    match node:
        case Chars():
            ways = [_terminal(node.plain)] if node.plain else []
            return _either([*ways, *map(escape, node.escaped)])
        case InOrder():
            return " ".join(_run(node.parts))
        case Either():
            return _either(list(map(written, node.ways)))
        case Repeated():
            return f"({_repeated(node)}){node.times}"


def _repeated(node: Repeated) -> str:
    """Return what is repeated: of plain characters as many at once as there may be."""
    if isinstance(node.part, Chars) and node.part.plain and node.times in "+*":
        ways = [_terminal(f"{node.part.plain}+"), *map(escape, node.part.escaped)]
        return " | ".join(ways)
    return written(node.part)


def _run(parts: tuple[Node, ...]) -> Iterator[str]:
    """Yield the parts of a row; neighbours without escapes are one terminal."""
    plain = ""
    for part in parts:
        if not escapes(part):
            plain += pattern(part)
            continue
        if plain:
            yield _terminal(plain)
            plain = ""
        yield written(part)
    if plain:
        yield _terminal(plain)


def _either(ways: list[str]) -> str:
    return f"({' | '.join(ways)})"


def _terminal(expression: str) -> str:
    if not expression:
        return '""'
    # A slash ends an expression in Lark; those of the source have no backslash any more.
    return f"/{expression.replace('/', chr(92) + '/')}/"


def escape(character: str) -> str:
    """Return the literal of a character that JSON escapes."""
    return json.dumps(json.dumps(character)[1:-1])


def escapes(node: Node) -> bool:
    """Return whether a node may match a character that JSON escapes."""
    match node:
        case Chars():
            return bool(node.escaped) or not node.plain
        case InOrder():
            return any(map(escapes, node.parts))
        case Either():
            return any(map(escapes, node.ways))
        case Repeated():
            return escapes(node.part)


def pattern(node: Node) -> str:
    """Return a node without escapes as an expression."""
    match node:
        case Chars():
            return node.plain
        case InOrder():
            return "".join(map(pattern, node.parts))
        case Either():
            return f"(?:{'|'.join(map(pattern, node.ways))})"
        case Repeated():
            return f"(?:{pattern(node.part)}){node.times}"


def chars(has: Callable[[str], bool], inner: str) -> Chars:
    """Return a set of characters: ``inner`` is how a class has it, ``has`` tells which it holds."""
    held = "".join(filter(has, ESCAPED))
    return Chars(f"[[{inner}]--[{PLAIN}]]" if held else f"[{inner}]", held)


def literal(text: str, *, fold: bool = False) -> InOrder:
    """Return a text; ``fold``: in letters of either case."""
    return InOrder(tuple(_one(character, fold) for character in text))


def _one(character: str, fold: bool) -> Chars:
    if character in ESCAPED:
        return Chars("", character)
    plain = re.sub(r"[][\\.^$|?*+(){}&~#-]", r"\\\g<0>", character)
    return Chars(f"(?i:{plain})" if fold else plain)


class Reader:
    """Reads one expression, from its first character to its last. Nesting has a bound."""

    DEEPEST = 50

    def __init__(self, source: str, flags: str = "") -> None:
        if set(flags) - set("isu"):
            raise NotQuotable(f"the flags {flags[:10]!r} of an expression")
        self._source = source
        self._at = 0
        self._flags = flags
        self._depth = 0

    def read(self) -> Node:
        """Return the whole. Raises :class:`NotQuotable`."""
        found = self._either()
        if self._at < len(self._source):
            raise NotQuotable("a bracket that was not opened")
        return found

    def _either(self) -> Node:
        ways: list[Node] = []
        while True:
            ways.append(self._row())
            if not self._take(r"\|"):
                return ways[0] if len(ways) == 1 else Either(tuple(ways))

    def _row(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else InOrder(tuple(parts))

    def _repeated(self, part: Node) -> Node:
        """Return a part as often as stands behind it, with a "?" or "+" of that."""
        for _ in range(3):
            times = self._take(r"[*+?]|\{[0-9]+(,[0-9]*)?\}")
            if not times:
                return part
            part = Repeated(part, times)
        raise NotQuotable("a repetition of repetitions")

    def _atom(self) -> Node:
        character = self._source[self._at]
        self._at += 1
        match character:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case ".":
                return self._set(r"\s\S" if "s" in self._flags else r"^\n")
            case "^" | "$":
                raise NotQuotable(f"the anchor {character!r} in an expression")
            case "*" | "+" | "?":
                raise NotQuotable(f"{character!r} without anything to repeat")
        return self._literal(character)

    def _take(self, expression: str) -> str:
        """Return what matches here, and go on behind it; "" if nothing does."""
        found = re.compile(expression).match(self._source, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _group(self) -> Node:
        flags = self._flags
        if more := self._take(r"\?[is]*:"):
            self._flags += more[1:-1]
        elif self._source.startswith("?", self._at):
            raise NotQuotable("a group that begins with '(?'")
        self._depth += 1
        if self._depth > self.DEEPEST:
            raise NotQuotable(f"groups may be nested {self.DEEPEST} levels deep at most")
        found = self._either()
        if not self._take(r"\)"):
            raise NotQuotable("a bracket that is not closed")
        self._depth -= 1
        self._flags = flags
        return found

    def _class(self) -> Node:
        inner = self._take(r"\^?\]?(?:\\.|[^\]\\\[])*(?=\])")
        if not inner or re.search(r"&&|--|~~", inner) or not self._take(r"\]"):
            raise NotQuotable("a class of characters of an unusual form")
        return self._set(inner)

    def _escape(self) -> Node:
        kind = self._take(r"(?s:.)")
        if not kind or kind in ASSERTIONS or kind in "123456789":
            raise NotQuotable(f"'\\{kind}' in an expression")
        if kind in CLASSES:
            return self._set(f"\\{kind}")
        if kind in "pP":
            return self._property(kind)
        if kind in "xu":
            return self._literal(self._numbered(kind))
        return self._literal(CHARACTERS.get(kind, kind))

    def _numbered(self, kind: str) -> str:
        usual = "[0-9a-fA-F]{2}" if kind == "x" else "[0-9a-fA-F]{4}"
        digits = self._take(rf"\{{[0-9a-fA-F]{{1,6}}\}}|{usual}")
        try:
            return chr(int(digits.strip("{}"), 16))
        except (ValueError, OverflowError):
            raise NotQuotable("an escape without a character") from None

    def _property(self, kind: str) -> Node:
        name = self._take(r"\{[A-Za-z]{1,2}\}|[A-Z]").strip("{}")
        if not name:
            raise NotQuotable("a property of characters that is no general category")

        def has(character: str) -> bool:
            return unicodedata.category(character).startswith(name) == (kind == "p")

        return chars(has, f"\\{kind}{{{name}}}")

    def _set(self, inner: str) -> Node:
        try:
            fold = re.IGNORECASE if "i" in self._flags else 0
            known = re.compile(f"[{inner}]", re.ASCII | fold)  # asked about ASCII alone
        except re.error as error:
            raise NotQuotable(f"a class of characters: {error}") from None
        found = chars(lambda character: known.fullmatch(character) is not None, inner)
        folded = f"(?i:{found.plain})" if "i" in self._flags else found.plain
        return Chars(folded, found.escaped)

    def _literal(self, character: str) -> Node:
        return _one(character, "i" in self._flags)
