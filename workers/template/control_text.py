"""Control tokens in what a request brings are text. Pure.

A template is a program that reads texts and writes one, in which ``<|im_end|>`` of its own and
``<|im_end|>`` out of a message look alike. So before it runs, in every text of the request a
stand-in, a character that neither the request nor the template has, takes the place of the first
character of each control token's text. In what the template wrote it becomes that character again,
and is known to be the request's. A control token counts if all of it is the template's.

A token may also come about at a border: a message ends with ``<|im_end|`` and the template goes on
with ``>``. Therefore a beginning of such a text at the end of a message has a stand-in too, and an
end of one at its beginning, likewise at texts that the template cuts messages at. Nothing else is
touched: nearly all requests have no such text, and go through the template as they are.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

LONGEST = 256
"""Characters of the longest control token that is looked for at borders."""
PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
"""Code points of no meaning to anything."""
_CUT = re.compile(
    r"(?:\.\s*(?:r?split|replace|r?partition|[lr]?strip|remove(?:pre|suf)fix)|\|\s*replace)"
    r"""\s*\(\s*(?:'([^']{1,99})'|"([^"]{1,99})")"""
)
"""Places where a template takes texts apart, with the marks."""
_WORD = re.compile(r"""'([^'\n]{1,99})'|"([^"\n]{1,99})\"""")


class PromptPiece(NamedTuple):
    """A piece of a prompt."""

    text: str
    control: bool
    """True: it is the template's, so control tokens in it are such."""


class NoStandIn(Exception):
    """A request has every character of the private-use areas."""


class ControlText:
    """The texts of a vocabulary's control tokens, ready to be looked for."""

    def __init__(self, marks: Iterable[str], template: str) -> None:
        """``template`` is its source."""
        marks = sorted({mark for mark in marks if mark})
        self._marks = re.compile(trie(marks)) if marks else re.compile(r"(?!)")
        self._places = re.compile(f"(?=(?:{self._marks.pattern})).", re.DOTALL)
        short = [mark for mark in marks if len(mark) <= LONGEST]
        # A word is at the border of nothing: texts begin and end with words all the time.
        opening = [mark for mark in short if not mark[0].isalnum()]
        closing = [mark for mark in short if not mark[-1].isalnum()]
        self._heads = {mark[:n] for mark in opening for n in range(1, len(mark))}
        self._tails = {mark[n:] for mark in closing for n in range(1, len(mark))}
        self._first = _any_of({mark[0] for mark in opening})
        self._last = _any_of({mark[-1] for mark in closing})
        cuts = {a or b for a, b in _CUT.findall(template)}
        self._cut = (
            re.compile("|".join(map(re.escape, sorted(filter(str.strip, cuts))))) if cuts else None
        )
        self._filling = self._gaps(opening, template)
        self._template = {*template, *map(chr, _escaped(template))}
        self._replaced = sorted(
            {mark[0] for mark in marks}
            | {mark[-1] for mark in short}
            | {s[0] for s in self._filling}
        )

    def guard(self, value: Any) -> tuple[Any, "StandIns | None"]:
        """Return a JSON value of a request with stand-ins, and these; None if it needs none.

        Raises :class:`NoStandIn`.
        """
        if not any(map(self._concerns, set(strings(value)))):
            return value, None
        stand_ins = StandIns(dict(zip(self._replaced, self.unused(value), strict=False)))
        if len(stand_ins.table) < len(self._replaced):
            raise NoStandIn
        return mapped(value, lambda text: self._guarded(text, stand_ins.table)), stand_ins

    def _concerns(self, text: str) -> bool:
        if self._marks.search(text) is not None:
            return True
        return next(self._borders(text), None) is not None

    def _guarded(self, text: str, table: dict[str, str]) -> str:
        at = {*self._borders(text), *(match.start() for match in self._places.finditer(text))}
        if not at:
            return text
        characters = list(text)
        for place in at:
            characters[place] = table[characters[place]]
        return "".join(characters)

    def _borders(self, text: str) -> Iterator[int]:
        """Find characters of tokens that the template may complete."""
        at = 0
        for cut in self._cut.finditer(text) if self._cut is not None else ():
            yield from self._border(text, at, cut.start())
            at = cut.end()
        yield from self._border(text, at, len(text))

    def _border(self, text: str, start: int, end: int) -> Iterator[int]:
        """Find them in a piece of a text; templates trim white space."""
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if start == end:
            return
        for found in self._first.finditer(text, max(start, end - LONGEST), end):
            if text[found.start() : end] in self._heads:
                yield found.start()
        for found in self._last.finditer(text, start, min(end, start + LONGEST)):
            if text[start : found.end()] in self._tails:
                yield found.start()
        if end - start <= LONGEST and text[start:end] in self._filling:
            yield start

    def _gaps(self, marks: list[str], template: str) -> set[str]:
        """Return the texts that may stand between two of a template's to make a token of three."""
        if not self._heads:
            return set()
        ends = (match.start() for match in re.finditer(r"""['"]|\{\{""", template))
        before = (template[max(0, end - LONGEST) : end] for end in ends)
        open_ = {head for text in before for head in _ends(text) if head in self._heads}
        fillings = {
            mark[len(head) : end]
            for head in open_
            for mark in marks
            if mark.startswith(head)
            for end in range(len(head) + 1, len(mark))
        }
        return fillings - {a or b for a, b in _WORD.findall(template)}

    def unused(self, value: Any) -> Iterator[str]:
        """Return private characters that are nowhere in a request, nor in the template."""
        used = set(self._template)
        for text in strings(value):
            used.update(text)
            used.update(map(chr, _escaped(text)))
        return (chr(code) for area in PRIVATE for code in area if chr(code) not in used)


class StandIns:
    """The characters that stand for those of a request, for as long as it is rendered."""

    def __init__(self, table: dict[str, str]) -> None:
        """``table``: for each character the one that stands for it."""
        self.table = table
        self._meant = {stand_in: character for character, stand_in in table.items()}
        # JSON of a template may be ASCII.
        self._meant |= {f"\\u{ord(one):04x}": meant for one, meant in self._meant.items()}
        self._pattern = re.compile("|".join(map(re.escape, self._meant)))

    def pieces(self, rendered: str) -> Iterator[PromptPiece]:
        """Cut a rendered text into the template's pieces and characters of the request."""
        at = 0
        for found in self._pattern.finditer(rendered):
            if found.start() > at:
                yield PromptPiece(rendered[at : found.start()], control=True)
            yield PromptPiece(self._meant[found[0]], control=False)
            at = found.end()
        if at < len(rendered):
            yield PromptPiece(rendered[at:], control=True)


def strings(value: Any) -> Iterator[str]:
    """Find every string in a JSON value, keys included."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield from one
            rest += one.values()
        elif isinstance(one, list):
            rest += one


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with other strings; keys that are plain names stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [mapped(each, change) for each in value]
    if isinstance(value, dict):
        return {
            key if key.isidentifier() else change(key): mapped(each, change)
            for key, each in value.items()
        }
    return value


def trie(texts: list[str], depth: int = 0) -> str:
    """Return a regular expression for the longest of some sorted texts at a place."""
    if depth > LONGEST:  # deeper than Python's own parser goes
        return "|".join(map(re.escape, reversed(texts)))
    branches = []
    while texts:
        head = texts[0][:1]
        group = [text for text in texts if text.startswith(head)]
        texts = texts[len(group) :]
        shared = _shared(group[0], group[-1])
        rest = [text[shared:] for text in group if len(text) > shared]
        tail = f"(?:{trie(rest, depth + 1)}){'?' * (len(rest) < len(group))}" if rest else ""
        branches.append(re.escape(group[0][:shared]) + tail)
    return "|".join(branches)


def _shared(first: str, last: str) -> int:
    """Return the length of what the first and the last of sorted texts begin with."""
    most = min(len(first), len(last))
    return next((at for at in range(most) if first[at] != last[at]), most)


def _any_of(characters: set[str]) -> re.Pattern[str]:
    return re.compile(f"[{''.join(map(re.escape, sorted(characters)))}]" if characters else r"(?!)")


def _ends(text: str) -> Iterator[str]:
    return (text[at:] for at in range(len(text)))


def _escaped(text: str) -> set[int]:
    """Return the code points that a text has in JSON's way, as backslash, u and four digits."""
    if "\\u" not in text:
        return set()
    return {int(digits, 16) for digits in re.findall(r"\\u([0-9a-fA-F]{4})", text)}
