"""The KV cache as the engine sees it: sequences with cells, and prefixes kept in host memory.

This module keeps two accounts in step and is the only one that changes them: llama.cpp's memory
(``Memory``, so that the rest is tested without it), with who holds which cells of it, and the store
of snapshots. Cells are never shared: what a new sequence has in common with another, running or
ended, is copied into its own from host memory, which costs a thousandth of computing it.

An example: a chat with a system prompt of 400 tokens and 100 of its own ended; a snapshot of its
500 tokens is in the store. A second one with the same system prompt and 50 tokens of its own
attaches: the snapshot is restored as sequence 1 and cut to 400 tokens, and only 50 are computed.

llama.cpp computes sequences with consecutive numbers together and cuts a batch at each hole, so a
new sequence takes the lowest free number, and the last one is moved into a hole that stays.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from workers.kv.radix import common
from workers.kv.snapshots import Mark, PrefixSnapshot, SnapshotStore, usable, worth
from workers.kv.state import SequenceState
from workers.planning.geometry import Geometries, Geometry
from workers.planning.media_runs import NO_RUNS, Runs

WORTH = 16
"""Tokens that one must be spared to wait for them: waiting costs up to a step."""
MOST_MARKS = 8
"""Of a sequence whose memory can't be cut: the first, where agents' common prompt ends, and the
last ones."""


class LedgerMismatch(AssertionError):
    """Cells were leaked, or are held by a sequence that has none: a bug."""


class Memory(Protocol):
    """The operations of llama.cpp's memory."""

    def reshape(self, geometry: Geometry) -> None: ...
    def drop(self, number: int) -> None: ...
    def cut(self, number: int, end: int) -> None: ...  # positions, as in length and rewind
    def length(self, number: int) -> int: ...
    def save(self, number: int) -> SequenceState: ...
    def restore(self, number: int, state: SequenceState) -> bool: ...
    def mark(self, number: int) -> SequenceState: ...
    def rewind(self, number: int, state: SequenceState, end: int) -> bool: ...


class ScopeShift(NamedTuple):
    """A text whose beginning is shared in another scope than the rest."""

    scope: str
    """Scope of its first ``end`` tokens."""
    end: int


class ResidentSequence:
    """A sequence with cells, under a number that may change: cells of its first tokens."""

    __slots__ = ("borders", "length", "marks", "number", "runs", "scope", "tokens")

    def __init__(
        self,
        number: int,
        tokens: Sequence[int],
        scope: str,
        borders: Sequence[int],
        runs: Runs = NO_RUNS,
    ) -> None:
        """``tokens``: its live list, which grows. ``borders``: where marks will be made.

        ``runs``: the media among its tokens.
        """
        self.number = number
        self.tokens = tokens
        self.scope = scope
        self.borders = borders
        self.runs = runs
        self.length = 0
        """Tokens that have cells."""
        self.marks: list[Mark] = []


class KVCache:
    """Cells of running sequences, and the prefixes of others."""

    def __init__(
        self, memory: Memory, geometries: Geometries, store: SnapshotStore, *, cuts: bool
    ) -> None:
        """``memory`` is as of ``geometries.base``. ``cuts``: it can be cut anywhere."""
        self._memory = memory
        self._store = store
        self._cuts = cuts
        self._residents: dict[int, ResidentSequence] = {}
        """By number."""
        self.geometries = geometries
        self.geometry = geometries.base
        self.restored = 0
        """Tokens that were copied and not computed, since the start."""

    @property
    def has_number(self) -> bool:
        """Return whether :meth:`attach` will find a number."""
        return len(self._residents) < self.geometry.sequences

    @property
    def used(self) -> int:
        """Return the cells in use."""
        return sum(resident.length for resident in self._residents.values())

    @property
    def host_bytes(self) -> int:
        """Return the host memory that snapshots take."""
        return self._store.bytes

    @property
    def host_room(self) -> int:
        """Return how many tokens snapshots may have in all; 0 before there was any."""
        return self._store.room

    def free(self, growth: int = 0) -> int:
        """Return the cells that a new sequence could have after others grew by ``growth``."""
        if not self.geometry.unified:
            return self.geometry.cells
        return self.geometry.cells - self.used - growth

    # ------------------------------------------------------------------ sequences come and go

    def attach(
        self,
        tokens: Sequence[int],
        scope: str = "",
        *,
        share: bool = True,
        saved: PrefixSnapshot | None = None,
        borders: Sequence[int] = (),
        shift: ScopeShift | None = None,
        runs: Runs = NO_RUNS,
    ) -> ResidentSequence:
        """Give ``tokens`` (a live list) a number, and cells for what is known of them already.

        ``share``: what other sequences computed may be used. ``saved``: what it computed itself,
        and :meth:`pause` returned. ``borders``: positions at which the engine will :meth:`mark`.
        ``shift``: its first tokens are of another scope, until :meth:`rescope`. ``runs``: the media
        among its tokens, of which a part is only used if it computed that itself.
        """
        number = next(n for n in range(self.geometry.sequences) if n not in self._residents)
        source, count = self._best(tokens, scope, shift, runs) if share else (None, 0)
        if saved is not None and (own := saved.usable(len(tokens) - 1)) >= count:
            source, count = saved, own
        resident = ResidentSequence(number, tokens, scope, () if self._cuts else borders, runs)
        self._residents[number] = resident
        if isinstance(source, ResidentSequence):
            copy = self._copied(source)
            self._restore(resident, copy, count)
            self._store.put(copy)
        elif source is not None:
            self._restore(resident, source, count)
        if shift is not None and resident.length < shift.end:
            resident.scope = shift.scope
        if resident.length and source is not saved:
            self.mark(resident)  # where it went on itself is of no interest to others
        if saved is not None:
            # Its tokens are in the sequence again, which others can copy.
            self._store.discard(saved)
        return resident

    def _best(
        self, tokens: Sequence[int], scope: str, shift: ScopeShift | None, runs: Runs
    ) -> tuple[PrefixSnapshot | ResidentSequence | None, int]:
        """Find what gives the most first ``tokens``, and how many, in either scope."""
        found = self._source(tokens, scope, runs)
        if shift is None:
            return found
        before = self._source(tokens[: shift.end + 1], shift.scope, runs)
        return before if before[1] > found[1] else found

    def _source(
        self, tokens: Sequence[int], scope: str, runs: Runs = NO_RUNS
    ) -> tuple[PrefixSnapshot | ResidentSequence | None, int]:
        """Find what gives the most first ``tokens``, and how many: no part of a medium."""
        source: PrefixSnapshot | ResidentSequence | None
        cells = self.free()
        source, count = self._store.longest(scope, tokens, cells)
        if source is not None and runs.whole(count) < count:
            count = source.usable(runs.whole(count))
        for resident in self._residents.values():
            if resident.scope == scope:
                same = common(tokens, resident.tokens, min(len(tokens) - 1, resident.length))
                same = runs.whole(same)
                found = usable(same, resident.length, self._marks(resident))
                if found > count and resident.length <= cells and worth(found, resident.length):
                    source, count = resident, found
        return source, count

    def _marks(self, resident: ResidentSequence) -> list[Mark] | None:
        return None if self._cuts else resident.marks

    def _copied(self, resident: ResidentSequence) -> PrefixSnapshot:
        """A snapshot of what ``resident`` has now."""
        state = self._memory.save(resident.number)
        marks = self._marks(resident)
        tokens = resident.tokens[: resident.length]
        return PrefixSnapshot(
            resident.scope, tokens, state, None if marks is None else tuple(marks)
        )

    def _restore(self, resident: ResidentSequence, snapshot: PrefixSnapshot, count: int) -> None:
        """Bring back the first ``count`` tokens of ``snapshot``; on failure there are none."""
        loaded = self._store.loaded(snapshot) if count else None
        if loaded is None:
            return
        snapshot, number = loaded, resident.number
        self._store.use(snapshot)
        if not self._memory.restore(number, snapshot.state):
            self._store.reject(snapshot)
            return
        marks = [mark for mark in snapshot.marks or () if mark.end <= count]
        if count < len(snapshot.tokens):
            if self._cuts:
                self._memory.cut(number, resident.runs.position(count))
            elif not self._memory.rewind(number, marks[-1].state, resident.runs.position(count)):
                self._memory.drop(number)
                return
        resident.length = count
        resident.marks = marks
        self.restored += count

    def rescope(self, resident: ResidentSequence, scope: str) -> None:
        """The next tokens of a sequence are of another scope; those that it has stay shared."""
        tokens = resident.tokens[: resident.length]
        if self._store.keeps and not self._store.covers(resident.scope, tokens):
            self._store.put(self._copied(resident))
        resident.scope = scope

    def extend(self, resident: ResidentSequence, count: int) -> None:
        """``count`` more of its tokens were computed."""
        resident.length += count

    def cut(self, resident: ResidentSequence, length: int) -> None:
        """Give up what was computed after the first ``length`` tokens; the memory must allow it."""
        self._memory.cut(resident.number, resident.runs.position(length))
        resident.length = length

    def mark(self, resident: ResidentSequence) -> None:
        """Remember what can't be cut: snapshots of ``resident`` can be cut to here."""
        if self._cuts or any(mark.end == resident.length for mark in resident.marks):
            return
        resident.marks.append(Mark(resident.length, self._memory.mark(resident.number)))
        del resident.marks[1 : 1 - MOST_MARKS]

    def pause(self, resident: ResidentSequence) -> PrefixSnapshot | None:
        """Take the cells of a sequence that will go on; None if it had none.

        What it computed is kept until it attaches again or is forgotten, and others may use it.
        """
        snapshot = self._copied(resident) if resident.length else None
        if snapshot is not None:
            self._store.put(snapshot, pinned=True)
        self.drop(resident)
        return snapshot

    def forget(self, saved: PrefixSnapshot) -> None:
        """A paused sequence will not go on."""
        self._store.unpin(saved)

    def keep(self, resident: ResidentSequence) -> None:
        """A sequence ended; others may use what it computed."""
        tokens = resident.tokens[: resident.length]
        if tokens and self._store.keeps and not self._store.covers(resident.scope, tokens):
            self._store.put(self._copied(resident))
        self.drop(resident)

    def drop(self, resident: ResidentSequence) -> None:
        """A sequence gives up its cells and its number."""
        self._memory.drop(resident.number)
        del self._residents[resident.number]

    def coming(
        self,
        tokens: Sequence[int],
        scope: str,
        computing: Iterable[ResidentSequence],
        shift: ScopeShift | None = None,
    ) -> int:
        """Return how many first ``tokens`` to await and copy, rather than compute twice.

        ``computing`` are the sequences that will be computed in the next steps. It pays if one of
        them will have :data:`WORTH` more of the tokens than there are now.
        """
        if shift is not None:
            tokens, scope = tokens[: shift.end + 1], shift.scope
        size, limit = 0, len(tokens) - 1
        reading = self._reading(tokens, scope)
        if reading:
            return reading
        for resident in computing:
            # A sequence that decodes lacks one token: none waits for what it may say.
            if resident.scope == scope and len(resident.tokens) - resident.length >= WORTH:
                same = common(tokens, resident.tokens, limit)
                marks = (end for end in resident.borders if end <= same)
                size = max(size, same if self._cuts else max(marks, default=0))
        return size if size >= WORTH and size >= WORTH + self._source(tokens, scope)[1] else 0

    def _reading(self, tokens: Sequence[int], scope: str) -> int:
        """Return how many first ``tokens`` are being read from a file; others go on meanwhile."""
        if self._store.backing is None or not self._residents:
            return 0
        source, count = self._source(tokens, scope)
        waits = isinstance(source, PrefixSnapshot) and self._store.awaits(source)
        return count if waits else 0

    # ------------------------------------------------------------------ where sequences are

    def pack(self) -> None:
        """Move the last sequences into holes, before a step, so that it is computed in one go."""
        if self.geometry.unified:
            return
        for hole in range(len(self._residents)):
            if hole not in self._residents:
                self._move(self._residents.pop(max(self._residents)), hole)

    def _move(self, resident: ResidentSequence, number: int) -> None:
        state = self._memory.save(resident.number)
        self._memory.drop(resident.number)
        self._put(resident, number, state)

    def _put(self, resident: ResidentSequence, number: int, state: SequenceState | None) -> None:
        resident.number = number
        self._residents[number] = resident
        if state is not None and not self._memory.restore(number, state):
            resident.length = 0  # computed again
            resident.marks = []

    def reshape(self, geometry: Geometry) -> None:
        """Divide the cells in another way; at most ``geometry.sequences`` may be here."""
        residents = list(self._residents.values())
        states = [self._memory.save(r.number) if r.length else None for r in residents]
        self._memory.reshape(geometry)
        self.geometry = geometry
        self._residents.clear()
        for number, (resident, state) in enumerate(zip(residents, states, strict=True)):
            self._put(resident, number, state)

    def check(self) -> None:
        """Raise :class:`LedgerMismatch` on a leak; for idle moments and tests."""
        if self.used > self.geometry.total:
            raise LedgerMismatch(f"{self.used} cells used of {self.geometry.total}")
        for number in range(self.geometry.sequences if self._cuts else 0):
            resident = self._residents.get(number)
            ours = 0 if resident is None else resident.runs.reach(resident.length)
            theirs = self._memory.length(number)
            if ours != theirs:
                raise LedgerMismatch(f"sequence {number} has {theirs} cells, we say {ours}")
        if sum(snapshot.size for snapshot in self._store) != self._store.bytes:
            raise LedgerMismatch("the store's bytes are not those of its snapshots")
