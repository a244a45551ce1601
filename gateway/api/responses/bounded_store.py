"""Values in memory, bounded in bytes and age, each seen by its owner alone. Pure.

Laws:

- a value is found by its owner and id until it is removed, too old, or evicted;
- the bytes of all values together never exceed the bound after a call returns;
- the owner with the most bytes loses its oldest values first, so a busy key can't flush the values
  of a quiet one: with K owners, one that holds less than a K-th of the room loses nothing.

In numbers: room for 64 MiB, one key with 60 of them, another with 1. Whatever the first adds, its
own oldest go, until the second holds more than it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _StoredValue(Generic[T]):
    value: T
    size: int
    born_ns: int


@dataclass(slots=True)
class _Shelf(Generic[T]):
    """One owner's values, oldest first."""

    kept: OrderedDict[str, _StoredValue[T]]
    size: int = 0


class BoundedStore(Generic[T]):
    """A store of values by owner and id."""

    def __init__(
        self,
        room: int,
        age_ns: int,
        clock_ns: Callable[[], int],
        gone: Callable[[str, T], None] = lambda owner, value: None,
    ) -> None:
        """``room``: bytes. ``gone`` hears of each value that goes, and of its owner."""
        self.room = room
        self.size = 0
        self._age_ns = age_ns
        self._clock_ns = clock_ns
        self._gone = gone
        self._shelves: dict[str, _Shelf[T]] = {}

    def put(self, owner: str, id_: str, value: T, size: int) -> bool:
        """Keep a value of so many bytes; return whether there was room for it."""
        self.remove(owner, id_)
        self._expire()
        if size > self.room:
            return False
        shelf = self._shelves.setdefault(owner, _Shelf(OrderedDict()))
        shelf.kept[id_] = _StoredValue(value, 0, self._clock_ns())
        self.resize(owner, id_, size)
        return owner in self._shelves and id_ in self._shelves[owner].kept

    def get(self, owner: str, id_: str) -> T | None:
        """Return a value; None if its owner has none of this id."""
        self._expire()
        shelf = self._shelves.get(owner)
        kept = None if shelf is None else shelf.kept.get(id_)
        return None if kept is None else kept.value

    def values(self, owner: str) -> list[T]:
        """Return an owner's values, newest first."""
        self._expire()
        shelf = self._shelves.get(owner)
        return [] if shelf is None else [kept.value for kept in reversed(shelf.kept.values())]

    def resize(self, owner: str, id_: str, size: int) -> None:
        """Note that a value has so many bytes now; it may have to go. Does nothing without it."""
        shelf = self._shelves.get(owner)
        kept = None if shelf is None else shelf.kept.get(id_)
        if shelf is None or kept is None:
            return
        self._grow(shelf, size - kept.size)
        kept.size = size
        self._shrink()

    def renew(self, owner: str, id_: str, size: int) -> None:
        """Note that a value has changed: its age begins anew. Else as :meth:`resize`."""
        self._expire()
        shelf = self._shelves.get(owner)
        kept = None if shelf is None else shelf.kept.get(id_)
        if shelf is not None and kept is not None:
            kept.born_ns = self._clock_ns()
            shelf.kept.move_to_end(id_)
            self.resize(owner, id_, size)

    def remove(self, owner: str, id_: str) -> T | None:
        """Take a value away, and return it; None if there is none."""
        shelf = self._shelves.get(owner)
        if shelf is None or id_ not in shelf.kept:
            return None
        return self._take(owner, shelf, id_)

    def charge(self, owner: str, size: int) -> None:
        """Count bytes that several values of an owner have in common; negative: they are free.

        Nothing is evicted for them before the next value comes.
        """
        self._grow(self._shelves[owner], size)

    def _grow(self, shelf: _Shelf[T], size: int) -> None:
        shelf.size += size
        self.size += size

    def _take(self, owner: str, shelf: _Shelf[T], id_: str) -> T:
        kept = shelf.kept.pop(id_)
        self._grow(shelf, -kept.size)
        self._gone(owner, kept.value)
        if not shelf.kept:
            assert shelf.size == 0, "what values have in common goes with the last"
            del self._shelves[owner]
        return kept.value

    def _expire(self) -> None:
        until = self._clock_ns() - self._age_ns
        for owner, shelf in list(self._shelves.items()):
            while shelf.kept:
                id_, kept = next(iter(shelf.kept.items()))
                if kept.born_ns > until:
                    break
                self._take(owner, shelf, id_)

    def _shrink(self) -> None:
        """Evict the oldest values of the owner with the most bytes until the rest has room."""
        while self.size > self.room:
            owner, shelf = max(self._shelves.items(), key=lambda each: each[1].size)
            oldest = next(iter(shelf.kept))
            self._take(owner, shelf, oldest)
