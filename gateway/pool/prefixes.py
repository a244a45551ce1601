"""The prompts that begin alike, and the part of them that a worker has. Pure.

The gateway has no tokens, so it compares bytes: a prompt is a chain of marks, each of them a hash
of all bytes up to some place. Two prompts that begin alike have the same first marks.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.core.prompt_size import BYTES_PER_TOKEN, MEDIUM_TOKENS
from workers.protocol import (
    MEDIUM,
    Chat,
    Generate,
    Infill,
    Medium,
    Mixed,
    Prompt,
    TextPair,
    Tokens,
)

BLOCK, GROWTH = 512, 16
"""A mark comes BLOCK bytes after the last one at most, or a GROWTH-th of the bytes so far if that
is more: a long prompt needs no finer ones, and the longest has hundreds, no thousands."""
MESSAGE = 16
"""The end of a message is a mark if it is at least a MESSAGE-th of a block away from the last."""
REACH = 1 << 20
"""Bytes that are looked at: prompts that agree in so many need not be told apart."""
END = b"\xff"
"""Stands in no UTF-8, so that a message's end can't be imitated inside one."""


class Chain(NamedTuple):
    """A prompt as marks, in their order."""

    marks: tuple[int, ...] = ()
    """Each a hash of the one before and the bytes since; equal only after equal beginnings."""
    ends: tuple[int, ...] = ()
    """Bytes up to each mark."""
    size: int = 0
    """Bytes of the whole prompt, or of its messages up to REACH."""

    def common(self, other: Chain) -> int:
        """Bytes up to the last mark that both have."""
        mine, theirs = self.marks, other.marks
        limit = min(len(mine), len(theirs))
        if not limit or mine[0] != theirs[0]:
            return 0
        if mine[limit - 1] == theirs[limit - 1]:  # one goes on with the other, as most do
            return self.ends[limit - 1]
        return self.until(lambda at: mine[at] != theirs[at], limit)

    def until(self, differs: Callable[[int], bool], limit: int) -> int:
        """Bytes up to the last of the first ``limit`` marks that does not differ.

        All that come after one that differs must do so too.
        """
        count = bisect_left(range(limit), True, key=differs)
        return self.ends[count - 1] if count else 0


UNKNOWN = Chain()
"""A prompt of which nothing is to be said."""


def chain(prompt: Prompt, scope: str = "", *, shares: bool = True) -> Chain:
    """The marks of a prompt: where its messages end, in long ones every block, and at its end.

    Prompts of different ``scope`` have no mark in common: none may start from another's cells.
    ``shares`` False: it must be computed from its beginning, so it has a size and no marks.
    """
    data, places = _bytes(prompt)
    stops = iter(places)
    if not shares:
        return Chain(size=len(data))
    marks, ends, mark, at = [], [], hash((type(prompt), scope)), 0
    stop, limit = 0, min(len(data), REACH)
    while at < limit:
        block = max(BLOCK, at // GROWTH)
        # Decided by what comes before it alone: prompts that begin alike have the same mark here.
        while stop < at + block // MESSAGE:
            stop = next(stops, sys.maxsize)
        end = min(at + block, limit, stop)
        mark, at = hash((mark, data[at:end])), end
        marks.append(mark)
        ends.append(end)
    return Chain(tuple(marks), tuple(ends), len(data))


def _bytes(prompt: Prompt) -> tuple[bytes, list[int]]:
    """A prompt in the order in which templates write it, and where its messages end."""
    if isinstance(prompt, Tokens):
        return array("i", prompt.ids).tobytes(), []  # ids have 31 bits
    if isinstance(prompt, Mixed):
        return b"".join(map(_part, prompt.parts)), []
    if isinstance(prompt, Infill):
        files = [text for file in prompt.files or () for text in file]
        gap = prompt.prefix + prompt.begun, prompt.suffix
        return END.join(text.encode() for text in (*files, *gap)), []
    if isinstance(prompt, TextPair):
        return prompt.query.encode() + END + prompt.document.encode(), []
    if not isinstance(prompt, Chat):
        return prompt.text.encode(), []
    tools = prompt.tools.tools if prompt.tools is not None else []
    parts, stops, size = [], [], 0
    messages = (_message(each, prompt.media) for each in prompt.messages)
    for part in (_encode([tools, prompt.arguments]), *messages):
        parts.append(part)
        size += len(part)
        stops.append(size)
        if size >= REACH:
            break
    return b"".join(parts), stops


def _part(part: str | int) -> bytes:
    """A part of a mixed prompt; an id is told from the text of one."""
    return part.encode() if isinstance(part, str) else END + part.to_bytes(4, "little")


def _message(message: dict[str, Any], media: Sequence[Medium]) -> bytes:
    """Its text comes last, and without its length: a longer text begins like a shorter one."""
    content = message.get("content")
    if isinstance(content, list):
        head = _encode({k: v for k, v in message.items() if k != "content"})
        return b"".join([head, *(_content(part, media) for part in content), END])
    if not isinstance(content, str):
        return _encode(message) + END
    return _encode({k: v for k, v in message.items() if k != "content"}) + content.encode() + END


def _content(part: dict[str, Any], media: Sequence[Medium]) -> bytes:
    """A part of a message; a picture or a sound is its digest, again and again: as many bytes as
    its tokens weigh, and in no text."""
    if part["type"] != MEDIUM:
        return str(part["text"]).encode() + END
    digest: bytes = media[part["at"]].digest.encode()
    return END + digest * (BYTES_PER_TOKEN * MEDIUM_TOKENS // len(digest)) + END


_encode = msgspec.msgpack.Encoder().encode


class Holdings:
    """The prompts that one worker has computed or is about to, as far as requests tell.

    A worker drops what was not used for longest when it needs the room; so does this.
    """

    def __init__(self, capacity: int = 0) -> None:
        """``capacity``: bytes of prompts that it can hold."""
        self._capacity = capacity
        self._marks: dict[int, int] = {}
        """Bytes that each mark adds, least recently used first. A mark is never used later
        than those before it in its chain, so of any chain only the last ones are missing."""
        self._size = 0
        self._running: dict[int, Chain] = {}
        """The prompt of each generation in flight."""
        self._computing: dict[int, int] = {}
        """From which byte on each of those computes its prompt that has no token yet."""
        self._backlog = 0
        """Bytes that they compute in all."""

    def resize(self, capacity: int) -> None:
        """Believe that the worker can hold so many bytes of prompts from now on."""
        self._capacity = capacity
        self._shrink()

    def spared(self, prompt: Chain) -> int:
        """Bytes of a prompt that need not be computed here."""
        marks = prompt.marks
        if not marks or marks[0] not in self._marks:  # of most workers nothing more is asked
            return 0
        return prompt.until(lambda at: marks[at] not in self._marks, len(marks))

    def appraise(self, prompt: Chain) -> tuple[int, float, int]:
        """Return the pros and cons of this worker, in bytes of prompts to compute.

        First :meth:`spared`. Then what that is worth: bytes that others use here at the same time
        are divided by the number of their users, because to compute them on one more worker will
        spare them to many. Last the bytes of others' prompts that are yet to be computed here,
        without those that this one shares.
        """
        spared, worth, at = self.spared(prompt), 0.0, 0
        if not spared:
            return 0, 0.0, self._backlog
        common = {id_: min(spared, prompt.common(run)) for id_, run in self._running.items()}
        backlog = sum(
            self._running[id_].size - max(start, common[id_])
            for id_, start in self._computing.items()
        )
        ends = sorted((*common.values(), spared))
        for users, end in zip(range(len(ends), 0, -1), ends, strict=True):
            worth += (end - at) / users
            at = end
        return spared, worth, backlog

    def begin(self, id_: int, prompt: Chain) -> None:
        """A generation was sent to the worker."""
        self.end(id_)  # it may be here already, as its earlier attempt
        self._running[id_] = prompt
        self._computing[id_] = self.spared(prompt)
        self._backlog += prompt.size - self._computing[id_]
        starts = (0, *prompt.ends)
        for mark, start, end in reversed([*zip(prompt.marks, starts, prompt.ends, strict=False)]):
            self._size += end - start - self._marks.pop(mark, 0)
            self._marks[mark] = end - start
        self._shrink()

    def _shrink(self) -> None:
        while self._size > self._capacity:
            self._size -= self._marks.pop(next(iter(self._marks)))

    def computed(self, id_: int) -> None:
        """A generation has a token, so its prompt is computed."""
        start = self._computing.pop(id_, None)
        if start is not None:
            self._backlog -= self._running[id_].size - start

    def end(self, id_: int) -> None:
        """A generation left its slot; its prompt stays."""
        self.computed(id_)
        self._running.pop(id_, None)


class Chains:
    """Makes the chain of each prompt once: its completions come one after another."""

    def __init__(self) -> None:
        self._last: tuple[Prompt, str, bool, Chain] | None = None

    def of(self, request: Generate) -> Chain:
        """The prompt's chain; without marks if the request may not use what others computed."""
        params = request.params
        judged = params.echo and params.logprobs is not None  # every token of it is computed
        shares = params.cache_prompt and params.generates and not judged
        prompt, scope, last = request.prompt, request.scope, self._last
        if last is None or last[0] is not prompt or last[1:3] != (scope, shares):
            last = self._last = prompt, scope, shares, chain(prompt, scope, shares=shares)
        return last[3]
