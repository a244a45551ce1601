"""Prefixes saved in host memory: to copy them is cheaper than to compute them. Pure.

A snapshot is the state of a whole sequence. It serves every prompt that begins with some of its
tokens: it is restored, and what follows the common ones is cut off. 1,000 tokens of a model with
135M parameters come back in 1.3 ms and take 2,200 ms to compute.

Recurrent states and sliding windows can't be cut: they are those of the last token. Snapshots of
such a model bring *marks*, states of these memories alone at positions where texts are likely to
part, and can be cut at these.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from workers.kv.radix import Keys, RadixTree
from workers.kv.state import SequenceState

PINNED_BYTES = 1 << 30
"""Saved work of paused sequences may take so much beyond the capacity, or the capacity if that is
more; beyond it the oldest has no right to stay, and may have to be computed again."""
TOKEN_BYTES = 8
COPIES = 256
"""Tokens that are copied, at least, in the time in which one is computed; all of a state are."""
WORTH = 16
"""Tokens that a snapshot in a file must spare more than the best one in memory."""
NOTHING = SequenceState(memoryview(b""), (), 0, 1)


class Mark(NamedTuple):
    """The content of a memory that can't be cut, after the first ``end`` tokens."""

    end: int
    state: SequenceState


class PrefixSnapshot:
    """The state of a sequence, and the tokens it holds. Compared by identity."""

    __slots__ = ("marks", "scope", "size", "state", "tokens")

    def __init__(
        self, scope: str, tokens: Sequence[int], state: SequenceState, marks: Sequence[Mark] | None
    ) -> None:
        """``scope``: only its prompts may use it. ``marks`` None: it can be cut anywhere."""
        self.scope = scope
        self.tokens = list(tokens)
        self.state = state
        self.marks = marks
        self.size = state.size + TOKEN_BYTES * len(tokens)
        self.size += sum(mark.state.size for mark in marks or ())

    def usable(self, same: int) -> int:
        """Return how many tokens it can give a prompt that begins with ``same`` of its tokens."""
        return usable(same, len(self.tokens), self.marks)

    def release(self) -> None:
        """Give its memory back, whatever still refers to it: it has no tokens any more."""
        self.tokens, self.state, self.marks = [], NOTHING, ()


def usable(same: int, length: int, marks: Sequence[Mark] | None) -> int:
    """Return how many of ``same`` tokens a state of ``length`` with ``marks`` can be cut to."""
    if same >= length:
        return length
    if marks is None:
        return same
    return max((mark.end for mark in marks if mark.end <= same), default=0)


def worth(count: int, size: int) -> bool:
    """Return whether to copy a state of ``size`` tokens is cheaper than to compute ``count``."""
    return count * COPIES >= size


class Backing(Protocol):
    """More snapshots, in files; see :class:`workers.kv.prefix_disk.PrefixDisk`."""

    def save(self, snapshot: PrefixSnapshot) -> None: ...
    def replaced(self, snapshot: PrefixSnapshot) -> None: ...
    def longest(
        self, scope: str, tokens: Sequence[int], cells: int
    ) -> tuple[PrefixSnapshot | None, int]: ...
    def fetch(self, found: PrefixSnapshot, most: int) -> bool: ...
    def arrived(self) -> Iterable[PrefixSnapshot]: ...
    def load(self, found: PrefixSnapshot) -> PrefixSnapshot | None: ...
    def reject(self, snapshot: PrefixSnapshot) -> None: ...


class SnapshotStore:
    """Snapshots, at most so many bytes of them; the least recently used go first."""

    def __init__(self, capacity: int, backing: Backing | None = None) -> None:
        """``capacity`` in bytes; with 0 only what is pinned is kept. All are of one model.

        ``backing`` keeps copies of what is not pinned, for longer than this process.
        """
        self.capacity = capacity
        self.backing = backing
        self._snapshots: OrderedDict[int, PrefixSnapshot] = OrderedDict()
        """By their keys in the trees, the least recently used first."""
        self._keys: dict[PrefixSnapshot, int] = {}
        self._trees: dict[str, RadixTree] = {}
        """The tokens, for each scope."""
        self._pinned: dict[PrefixSnapshot, None] = {}
        """Snapshots of paused sequences, the oldest first."""
        self._next_key = 0
        self.bytes = 0
        """The size of all snapshots."""
        self._tokens = 0
        """Tokens of all snapshots."""
        self._usual = 0, 0
        """Number of tokens, and of their bytes, when the last snapshot came."""

    def __iter__(self) -> Iterator[PrefixSnapshot]:
        return iter(self._snapshots.values())

    def __contains__(self, snapshot: PrefixSnapshot) -> bool:
        return snapshot in self._keys

    @property
    def keeps(self) -> bool:
        """Return whether what is put here may be found again, if it is not pinned."""
        return self.capacity > 0 or self.backing is not None

    @property
    def room(self) -> int:
        """Return how many tokens it holds when it is full, by the size of those it had last.

        0 before the first: the size of a state depends on the model, and on how long it is.
        """
        tokens, size = self._usual
        return self.capacity * tokens // max(1, size)

    def put(self, snapshot: PrefixSnapshot, *, pinned: bool = False) -> None:
        """Keep ``snapshot``; ``pinned``: until :meth:`unpin`, even beyond the capacity.

        What it makes needless goes. One that is larger than the capacity is not kept.
        """
        if self.backing is not None and not pinned:
            for other in self._within(snapshot):
                self.backing.replaced(other)
            self.backing.save(snapshot)
        self._keep(snapshot, pinned=pinned)

    def _keep(self, snapshot: PrefixSnapshot, *, pinned: bool = False) -> None:
        if not pinned and snapshot.size > self.capacity:
            return
        if pinned:
            self._pinned[snapshot] = None
        for other in list(self._within(snapshot)):
            self.remove(other)
        key, self._next_key = self._next_key, self._next_key + 1
        self._snapshots[key], self._keys[snapshot] = snapshot, key
        stops = [mark.end for mark in snapshot.marks or ()]
        self._trees.setdefault(snapshot.scope, RadixTree()).insert(key, snapshot.tokens, stops)
        self.bytes += snapshot.size
        self._tokens += len(snapshot.tokens)
        self._usual = self._tokens, self.bytes
        self._shrink()

    def unpin(self, snapshot: PrefixSnapshot) -> None:
        """The work of a paused sequence is not needed any more, at least not by that."""
        self._pinned.pop(snapshot, None)
        if snapshot.size > self.capacity:
            self.discard(snapshot)
        self._shrink()

    def longest(
        self, scope: str, tokens: Sequence[int], cells: int
    ) -> tuple[PrefixSnapshot | None, int]:
        """Find the snapshot that gives the most first ``tokens``, and how many: None and 0 if none.

        One token is left over, because the logits after the last one are needed. All of a snapshot
        is restored before it is cut: it must fit into ``cells``, and be worth the copy. One that
        the backing found has no states yet: see :meth:`loaded`.
        """
        if self.backing is not None:
            for snapshot in self.backing.arrived():
                self._keep(snapshot)
        best, most = self._here(scope, tokens, cells)
        if self.backing is not None:
            found, count = self.backing.longest(scope, tokens, cells)
            if count >= most + WORTH:
                return found, count
        return best, most

    def _here(
        self, scope: str, tokens: Sequence[int], cells: int
    ) -> tuple[PrefixSnapshot | None, int]:
        for count, keys in reversed(list(self._prefixes(scope, tokens[:-1]))):
            size, key = keys[0]
            if size <= cells and worth(count, size):
                return self._snapshots[key], count
        return None, 0

    def awaits(self, snapshot: PrefixSnapshot) -> bool:
        """Return whether what :meth:`longest` found is worth waiting for: it is being read."""
        return self.backing is not None and self.backing.fetch(snapshot, self.capacity)

    def loaded(self, snapshot: PrefixSnapshot) -> PrefixSnapshot | None:
        """Return what :meth:`longest` found with its states; None if it is gone."""
        if self.backing is None or snapshot.state.size:
            return snapshot
        read = self.backing.load(snapshot)
        if read is not None:
            self._keep(read)
        return read

    def _prefixes(self, scope: str, tokens: Sequence[int]) -> Iterable[tuple[int, Keys]]:
        """Yield to how many first ``tokens`` which snapshots can be cut, the fewest first."""
        tree = self._trees.get(scope)
        if tree is None:
            return ()
        cuts = next(iter(self._snapshots.values())).marks is None
        return tree.path(tokens) if cuts else tree.stops(tokens)

    def use(self, snapshot: PrefixSnapshot) -> None:
        """Take note that it was restored: it is the last to go."""
        if snapshot in self._keys:
            self._snapshots.move_to_end(self._keys[snapshot])

    def remove(self, snapshot: PrefixSnapshot) -> None:
        """Forget it, and free its memory."""
        key = self._keys.pop(snapshot)
        del self._snapshots[key]
        self._pinned.pop(snapshot, None)
        tree = self._trees[snapshot.scope]
        tree.remove(key)
        if not len(tree):
            del self._trees[snapshot.scope]
        self.bytes -= snapshot.size
        self._tokens -= len(snapshot.tokens)
        snapshot.release()

    def discard(self, snapshot: PrefixSnapshot) -> None:
        """Forget it if it is here."""
        if snapshot in self._keys:
            self.remove(snapshot)

    def reject(self, snapshot: PrefixSnapshot) -> None:
        """Forget what could not be restored, wherever it is; that of a paused one is left to it."""
        if self.backing is not None:
            self.backing.reject(snapshot)
        if snapshot not in self._pinned:
            self.discard(snapshot)

    def covers(self, scope: str, tokens: Sequence[int]) -> bool:
        """Return whether one gives all of ``tokens``, which counts as a use of it."""
        for count, keys in self._prefixes(scope, tokens):
            if count == len(tokens):
                _, key = keys[0]
                self._snapshots.move_to_end(key)
                return True
        return False

    def _within(self, snapshot: PrefixSnapshot) -> Iterator[PrefixSnapshot]:
        """Yield those of which it holds all tokens, and can be cut to them."""
        tree = self._trees.get(snapshot.scope)
        for end, keys in tree.stops(snapshot.tokens) if tree is not None else ():
            if snapshot.usable(end) == end:
                ending = keys[: bisect_left(keys, (end + 1, 0))]
                found = (self._snapshots[key] for _, key in ending)
                yield from (other for other in found if other not in self._pinned)

    def _shrink(self) -> None:
        most = max(self.capacity, PINNED_BYTES)
        while sum(snapshot.size for snapshot in self._pinned) > most:
            self._pinned.pop(next(iter(self._pinned)))
        room = self.capacity + sum(snapshot.size for snapshot in self._pinned)
        while self.bytes > room:
            self.remove(next(s for s in self._snapshots.values() if s not in self._pinned))
