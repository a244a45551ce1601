"""Texts to token ids in linear time: llama.cpp's tokenisers without its search for special tokens.

The ids are llama.cpp's, token for token: each of its tokenisers takes the text between two special
tokens by itself, and :mod:`workers.llama.partition` says where those are.
"""

import contextlib
import ctypes
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import llama_cpp

from workers.llama.partition import Partition, Special, SpecialMatch, Undecided

CONTROL = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
ADDED = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
LSTRIP, RSTRIP = llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP, llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP
SHORT = 64
"""Bytes of a text that may come again and again in a long one, such as a role's name."""


class Part(NamedTuple):
    """A part of a text."""

    text: str
    control: bool
    """True: control tokens that are written in it count as such; else they are mere text."""


class Tokenizer:
    """The tokeniser of a vocabulary. For any thread."""

    def __init__(self, vocab: llama_cpp.llama_vocab_p) -> None:
        self._vocab = vocab
        specials = self._specials()
        self._all = Partition(specials)
        self._added = Partition(special for special in specials if not special.control)
        self._control = frozenset(special.token for special in specials if special.control)
        around = self._ask(b"", add_special=True, parse_special=False)
        wordpiece = llama_cpp.llama_vocab_type(vocab) == llama_cpp.LLAMA_VOCAB_TYPE_WPM
        begins = int(wordpiece or llama_cpp.llama_vocab_get_add_bos(vocab))
        self._head, self._tail = around[:begins], around[begins:]
        """Tokens that the model wants around a text."""
        self.control_texts = [
            special.mark.decode() for special in specials if special.control and _is_text(special)
        ]
        """The texts of the control tokens."""

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Token ids of ``text``.

        ``add_special``: what the model wants around a text, such as BOS, is added.
        ``parse_special``: control tokens written in it count as such.
        """
        data = text.encode("utf-8", "replace")
        try:
            cuts = (self._all if parse_special else self._added).cuts(data)
        except Undecided:
            return self._ask(data, add_special=add_special, parse_special=parse_special)
        return self._joined(data, cuts, add_special=add_special)

    def tokenize_parts(self, parts: Iterable[Part], *, add_special: bool = True) -> list[int]:
        """Token ids of a text in some parts of which control tokens count.

        If the others hold none, the ids are those of the whole text: a token of text may reach
        from one part into the next.
        """
        text, regions = bytearray(), _Regions()
        for part in parts:
            text += part.text.encode("utf-8", "replace")
            regions.add(len(text), control=part.control)
        data = bytes(text)
        cuts = self._cuts(data, regions)
        return self._joined(data, cuts, add_special=add_special)

    def tokenize_texts(self, texts: Sequence[Sequence[Part]]) -> list[list[int]]:
        """Token ids of the texts of one prompt, between which stands what is no text.

        What the model wants around a text is around them all.
        """
        found = [self.tokenize_parts(parts, add_special=False) for parts in texts]
        found[0] = self._head + found[0]
        found[-1] = found[-1] + self._tail
        return found

    def _cuts(self, data: bytes, regions: "_Regions") -> list[SpecialMatch]:
        with contextlib.suppress(Undecided):
            cuts = self._all.cuts(data)
            control = (cut for cut in cuts if cut.token in self._control)
            if all(regions.allow(start, end) for start, end, _ in control):
                return cuts
        return self._all.cuts(data, regions.allow)

    def _joined(self, data: bytes, cuts: list[SpecialMatch], *, add_special: bool) -> list[int]:
        """Return the special tokens with the tokens of the texts between them."""
        ids = list(self._head) if add_special else []
        at, known = 0, dict[bytes, list[int]]()
        for start, end, token in cuts:
            if start > at:
                ids += self._between(data[at:start], known)
            ids.append(token)
            at = end
        if at < len(data):
            ids += self._between(data[at:], known)
        return ids + self._tail if add_special else ids

    def _between(self, data: bytes, known: dict[bytes, list[int]]) -> list[int]:
        """Return the tokens of a text without special tokens; ``known`` remembers short ones."""
        ids = known.get(data)
        if ids is None:
            ids = self._ask(data, add_special=False, parse_special=False)
            if len(data) <= SHORT:
                known[data] = ids
        return ids

    def _ask(self, data: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        """Return llama.cpp's tokens of a text."""
        size = len(data) + 8
        while True:
            buffer = (ctypes.c_int32 * size)()
            got = llama_cpp.llama_tokenize(
                self._vocab, data, len(data), buffer, size, add_special, parse_special
            )
            if got >= 0:
                return buffer[:got]
            size = -got

    def _specials(self) -> list[Special]:
        """Return the tokens that llama.cpp looks for in a text first."""
        specials = []
        for token in range(llama_cpp.llama_vocab_n_tokens(self._vocab)):
            attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            mark = llama_cpp.llama_vocab_get_text(self._vocab, token)
            if attributes & (CONTROL | ADDED) and mark:
                control, lstrip, rstrip = (bool(attributes & x) for x in (CONTROL, LSTRIP, RSTRIP))
                specials.append(Special(token, mark, control, lstrip, rstrip))
        return specials


def _is_text(special: Special) -> bool:
    """Return whether a token's mark can be written in a text."""
    try:
        return bool(special.mark.decode())
    except UnicodeDecodeError:
        return False


class _Regions:
    """The parts of a text, by the places where they end; neighbours of one kind are one."""

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._control: list[bool] = []

    def add(self, end: int, *, control: bool) -> None:
        if self._control and self._control[-1] == control:
            self._ends[-1] = end
        elif end > (self._ends[-1] if self._ends else 0):
            self._ends.append(end)
            self._control.append(control)

    def allow(self, start: int, end: int) -> bool:
        """Return whether a control token at that place counts as one."""
        at = bisect_right(self._ends, start)
        return self._control[at] and end <= self._ends[at]
