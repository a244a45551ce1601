"""Redaction: patterns of what must not be kept, taken out before anything is written.

The patterns are regular expressions of RE2, which finds the next match in a time that grows with
the length of the text alone. A text with more than :data:`MOST_MATCHES` is taken out whole, so that
no pattern of an operator and no text of a client can make the search long. They see

- each text of a body as it is meant, without JSON's escapes, and the names of fields;
- each text of a stream as a whole, however many events its pieces are in;
- numbers, as their digits;
- at last the body as it is kept, for patterns that have JSON's own signs in them.

What spells a text in another way is taken out whole where there are any patterns: lists of token
ids or bytes, tables of probabilities, and thoughts that are carried in base64. A body that is cut
is not kept at all then: what is left of it might end in half of a match.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

import orjson

from gateway.capture.pieces import BodyLine, Leaf, joined, leaves, lines

MARK = "[redacted]"
SPELT = "[not kept: it spells a text that patterns can't see]"
CARRIED = frozenset(("encrypted_content", "signature"))
"""Names of thoughts in base64."""
LONGEST = 1000
"""Characters of a pattern."""
MOST_MATCHES = 2000
"""In one text. After each of them the search may go to the text's end before it finds the next."""
MEMORY = 8 << 20
"""Bytes that RE2 may take for one pattern."""
_MARKS = re.compile("|".join(map(re.escape, (MARK, SPELT))))
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class Pattern(Protocol):
    """A pattern, as Python's :mod:`re` has it."""

    def finditer(self, text: str) -> Any: ...


class BadPattern(ValueError):
    """A pattern that RE2 does not take, or there is no RE2."""


def compiled(pattern: str) -> Pattern:
    """Return a pattern. Raises BadPattern."""
    try:
        import re2  # late: most servers have no patterns
    except ImportError:
        raise BadPattern(
            "patterns need RE2: pip install 'forge-inference-gateway[redact]'"
        ) from None
    if not 1 <= len(pattern) <= LONGEST:
        raise BadPattern(f"expected a pattern of 1 to {LONGEST} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        found: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise BadPattern(f"{pattern!r} is no pattern of RE2: {reason}") from None
    if next(iter(found.finditer("")), None) is not None:
        raise BadPattern(f"{pattern!r} matches an empty text, and so every place of each")
    return found


class Redactor:
    """All patterns of a server."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises BadPattern."""
        self._patterns = [compiled(each) for each in patterns]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def text(self, text: str) -> str:
        """Return a text without what matches."""
        return self._redacted([text])[0]

    def body(self, body: bytes, kind: str) -> bytes:
        """Return a body of a media type without what matches; unchanged it is the same bytes."""
        if not self._patterns:
            return body
        found = lines(body, kind)
        changed = self._values(found)
        if changed:
            try:
                body = joined(found)
            except orjson.JSONEncodeError:  # nested more deeply than is written, though it was read
                return SPELT.encode()
        text = body.decode("utf-8", "replace")
        if len(found) == 1 and not found[0].json:  # no JSON, but it may have been meant so
            meant = unescaped(text)
            text = meant if self.text(meant) != meant else text
        after = self.text(text)
        return body if after == text else after.encode("utf-8", "replace")

    def _values(self, found: Sequence[BodyLine]) -> bool:
        """Change the values of lines; return whether anything had to be."""
        groups: dict[int, list[Leaf]] = {}
        known: dict[str, str] = {}
        """Names and numbers, which come again in each event of a stream."""
        changed = False

        def text_of(text: str) -> str:
            found = known.get(text)
            if found is None:
                found = known[text] = self.text(text)
            return found

        for leaf in [*leaves(found)]:
            if leaf.name in CARRIED and isinstance(leaf.value, str):
                changed |= _set(leaf, SPELT)
            elif isinstance(leaf.value, str):
                groups.setdefault(leaf.place, []).append(leaf)
            elif isinstance(leaf.value, int | float) and not isinstance(leaf.value, bool):
                text = str(leaf.value)
                changed |= text_of(text) != text and _set(leaf, MARK)
        for group in groups.values():
            before = [leaf.value for leaf in group]
            for leaf, text in zip(group, self._redacted(before), strict=True):
                changed |= leaf.value != text and _set(leaf, text)
        for line in found:
            if line.json:
                changed |= _shaped(line, text_of)
        return changed

    def _redacted(self, parts: list[str]) -> list[str]:
        """Return pieces of one text without what matches in the whole."""
        for pattern in self._patterns:
            whole = "".join(parts)
            found = islice(pattern.finditer(whole), MOST_MATCHES + 1)
            spans = [match.span() for match in found]
            if len(spans) > MOST_MATCHES:
                spans = [(0, len(whole))]
            spans = [each for each in spans if each[0] < each[1]]
            if spans and (MARK in whole or SPELT in whole):
                marks = [match.span() for match in _MARKS.finditer(whole)]
                spans = _outside(spans, marks)
            if spans:
                parts = _without(parts, spans)
        return parts


def _outside(
    spans: Sequence[tuple[int, int]], marks: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the spans that are not within a mark, where something was taken out before."""
    begins = [begin for begin, _ in marks]
    found = []
    for first, last in spans:
        at = bisect_right(begins, first) - 1
        if at < 0 or marks[at][1] < last:
            found.append((first, last))
    return found


def _shaped(line: BodyLine, text_of: Callable[[str], str]) -> bool:
    """Change names of fields, and take out what spells texts; return whether any was there."""
    changed = False
    todo: list[tuple[Any, Any, Any]] = [(line, "value", line.value)]
    while todo:
        home, at, value = todo.pop()
        if isinstance(value, list):
            if value and all(type(each) is int for each in value):
                changed |= _put(home, at, SPELT)
            else:
                todo += [(value, place, each) for place, each in enumerate(value)]
        elif isinstance(value, dict):
            for name in [*value]:
                inner = value[name]
                told = "logprob" in name or "probabilities" in name
                if told and inner and isinstance(inner, list | dict):
                    changed |= _put(value, name, SPELT)
                else:
                    todo.append((value, name, inner))
            names = {name: text_of(name) for name in value}
            if any(name != other for name, other in names.items()):
                changed |= True
                renamed = [(names[name], inner) for name, inner in value.items()]
                todo = [each for each in todo if each[0] is not value]
                value.clear()
                value.update(renamed)
                todo += [(value, name, inner) for name, inner in value.items()]
    return changed


def _set(leaf: Leaf, value: str) -> bool:
    return _put(leaf.home, leaf.at, value)


def _put(home: Any, at: Any, value: str) -> bool:
    if isinstance(home, BodyLine):
        home.value = value
    else:
        home[at] = value
    return True


def _without(parts: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return pieces without spans of the whole; the mark is in the piece where a span begins."""
    found = []
    begin, at = 0, 0
    for part in parts:
        end, made, place = begin + len(part), [], begin
        while at < len(spans) and spans[at][0] < end:
            first, last = spans[at]
            if first >= begin:
                made += [part[place - begin : first - begin], MARK]
            place = min(last, end)
            if last > end:
                break  # it goes on in the next piece
            at += 1
        made.append(part[place - begin :])
        found.append("".join(made))
        begin = end
    return found


def unescaped(text: str) -> str:
    """Return a text with the characters that JSON's escapes stand for."""

    def character(match: re.Match[str]) -> str:
        if match[1] is not None:
            return chr(int(match[1], 16))
        return _PLAIN.get(match[2], match[2])

    return (
        _ESCAPE.sub(character, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
