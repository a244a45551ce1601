"""Cut a text at its special tokens, in time that is linear in the text. Pure.

llama.cpp does so before anything else, special token by special token, the longest first; what one
has matched is closed to the next. It keeps the pieces in a list that it walks from its head at each
match: 100,000 of them take 24 s. Here one regular expression finds them from left to right, the
longest at each place. That gives the same, unless a token begins inside of a shorter one and ends
outside: in ``|||IP_ADDRESS|||EMAIL_ADDRESS|||`` llama.cpp sees OLMo's ``|||EMAIL_ADDRESS|||``. A
text with such a token is cut by length as in llama.cpp, which is slower and linear too.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

WINDOW = 1 << 16
"""Bytes that are searched at a time: the search holds the GIL."""
SPACES = b" \t\n\v\f\r"
"""C's isspace."""


class Special(NamedTuple):
    """A token that is looked for in a text before the tokeniser proper gets the rest."""

    token: int
    mark: bytes
    """Its text; never empty."""
    control: bool
    """False: a word that the vocabulary's authors added."""
    lstrip: bool = False
    rstrip: bool = False
    """True: the white space before or behind it belongs to it."""


class SpecialMatch(NamedTuple):
    """A special token in a text, with the white space that it swallows."""

    start: int
    end: int
    token: int


class Undecided(Exception):
    """Two tokens of one length overlap, and only llama.cpp knows which one goes first."""


Allowed = Callable[[int, int], bool]


class Partition:
    """The special tokens of a vocabulary, ready to be looked for."""

    def __init__(self, specials: Iterable[Special]) -> None:
        self._specials = {special.mark: special for special in specials}
        marks = sorted(self._specials)
        self._longest = max(map(len, marks), default=0)
        trie = _trie(marks) if marks else rb"(?!)"
        self._pattern = re.compile(trie)
        self._everywhere = re.compile(rb"(?=(%b))" % trie)
        self._ladders = {mark: self._ladder(mark) for mark in marks}
        """By mark those that it begins with, itself included, the longest first."""
        self._overlapping, self._undecided = self._overlaps()
        strips = any(special.lstrip or special.rstrip for special in self._specials.values())
        if strips and any(mark[:1] in SPACES or mark[-1:] in SPACES for mark in marks):
            self._overlapping = self._undecided = set(marks)

    def cuts(self, data: bytes, allowed: Allowed | None = None) -> list[SpecialMatch]:
        """Return the special tokens of ``data`` from left to right, as llama.cpp finds them.

        ``allowed(start, end)`` says where control tokens are such and not mere text; None:
        everywhere. Raises :class:`Undecided` in the latter case only.
        """
        cuts: list[SpecialMatch] = []
        at = 0
        while (found := self._search(data, at)) is not None:
            special = self._first_allowed(found, allowed)
            if special is None:
                at = found.start() + 1
                continue
            if allowed is None and special.mark in self._overlapping:
                return self._by_length(data)
            cuts.append(_cut(special, data, found.start(), cuts))
            at = cuts[-1].end
        return cuts

    def _ladder(self, mark: bytes) -> list[Special]:
        heads = (mark[:n] for n in range(len(mark), 0, -1))
        return [self._specials[head] for head in heads if head in self._specials]

    def _search(self, data: bytes, at: int) -> re.Match[bytes] | None:
        """Find the next special token that begins at ``at`` or later, the longest there."""
        while at < len(data):
            end = at + WINDOW
            found = self._pattern.search(data, at, end + self._longest)
            if found is not None and found.start() < end:
                return found
            at = end
        return None

    def _first_allowed(self, found: re.Match[bytes], allowed: Allowed | None) -> Special | None:
        for special in self._ladders[found[0]]:
            start = found.start()
            if allowed is None or not special.control or allowed(start, start + len(special.mark)):
                return special
        return None

    def _by_length(self, data: bytes) -> list[SpecialMatch]:
        """Find the longest tokens first, as llama.cpp does. Raises :class:`Undecided`."""
        found = [
            (-len(special.mark), match.start(), special)
            for match in self._everywhere.finditer(data)
            for special in self._ladders[match[1]]
        ]
        if not self._undecided.isdisjoint(special.mark for _, _, special in found):
            raise Undecided
        chosen = []
        taken = bytearray(len(data))
        for _, start, special in sorted(found):
            end = start + len(special.mark)
            # Those before are at least as long, so none lies between the ends of this one.
            if not (taken[start] or taken[end - 1]):
                taken[start:end] = b"\1" * len(special.mark)
                chosen.append((start, special))
        cuts: list[SpecialMatch] = []
        for start, special in sorted(chosen):
            cuts.append(_cut(special, data, start, cuts))
        return cuts

    def _overlaps(self) -> tuple[set[bytes], set[bytes]]:
        """Return the marks at which the longest at a place may be the wrong one.

        The second set: those that overlap with another one of their length.
        """
        beginning: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for mark in self._specials:
            for n in range(1, len(mark)):
                beginning[mark[:n]].append(mark)
        wrong, undecided = set(), set()
        for mark in self._specials:
            for n in range(1, len(mark)):
                for other in beginning.get(mark[n:], ()):
                    if other == mark or len(other) < len(mark):
                        continue
                    both = mark + other[len(mark) - n :]
                    first = self._pattern.match(both)
                    if first is not None and first.end() == len(mark):
                        wrong.add(mark)
                    if len(other) == len(mark):
                        undecided |= {mark, other}
        return wrong, undecided


def _cut(special: Special, data: bytes, start: int, before: list[SpecialMatch]) -> SpecialMatch:
    """Return the cut for a token at ``start``, with the white space between it and the others."""
    end, left = start + len(special.mark), before[-1].end if before else 0
    while special.lstrip and start > left and data[start - 1] in SPACES:
        start -= 1
    while special.rstrip and end < len(data) and data[end] in SPACES:
        end += 1
    return SpecialMatch(start, end, special.token)


def _trie(marks: list[bytes]) -> bytes:
    """Return a regular expression for the longest of ``marks``, which are sorted and not empty."""
    branches = []
    while marks:
        head = marks[0][:1]
        group = [mark for mark in marks if mark.startswith(head)]
        marks = marks[len(group) :]
        shared = _shared(group[0], group[-1])
        rest = [mark[shared:] for mark in group if len(mark) > shared]
        tail = b"" if not rest else b"(?:%b)%b" % (_trie(rest), b"?" * (len(rest) < len(group)))
        branches.append(re.escape(group[0][:shared]) + tail)
    return b"|".join(branches)


def _shared(first: bytes, last: bytes) -> int:
    """Return the length of what the first and the last of sorted texts begin with."""
    pairs = zip(first, last, strict=False)
    most = min(len(first), len(last))
    return next((n for n, (one, other) in enumerate(pairs) if one != other), most)
