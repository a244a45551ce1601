"""The memory that large bodies may take in all, while they are received and read.

Each of thousands of connections may bring a body of tens of megabytes. So what is beyond the bound
of bodies of text comes out of one budget; a request for which it has not enough is told to come
again. Only bytes that have come count, so that a client which says much and sends nothing takes
nothing, and one owner has half of it at most. What a request keeps while it waits and runs is
bounded by ``--max-queue-bytes`` and by the slots.
"""

from collections import Counter

from gateway.core.errors import Unavailable

RETRY_S = 1
PARTS = 2
"""An owner may take one of so many parts of it."""


class MediaRoom:
    """The budget of one process."""

    def __init__(self) -> None:
        self.taken = Counter[str]()
        """Bytes, by owners."""

    def lease(self, most: int, free: int, owner: str = "") -> "MediaLease":
        """Return the share of one request, still empty.

        ``most``: bytes of all requests; ``free``: so many of each request cost nothing.
        """
        return MediaLease(self, most, free, owner)


class MediaLease:
    """The bytes that one request takes of the budget."""

    def __init__(self, room: MediaRoom, most: int, free: int, owner: str) -> None:
        self._room = room
        self._most = most
        self._free = free
        self._owner = owner
        self.size = 0

    def check(self, size: int) -> None:
        """Raises Unavailable if the request could not have ``size`` bytes in all now.

        One that is alone gets what it is allowed, whatever the budget.
        """
        more = size - self._free - self.size
        if more <= 0:
            return
        taken = self._room.taken
        for there, most in (
            (taken.total(), self._most),
            (taken[self._owner], self._most // PARTS),
        ):
            others = there - self.size
            if others and others + self.size + more > most:
                message = "too many requests with large pictures or sound are received; try again"
                raise Unavailable(message, retry_after=RETRY_S)

    def cover(self, size: int) -> None:
        """Let the request have ``size`` bytes in all. Raises as :meth:`check`."""
        self.check(size)
        more = max(0, size - self._free - self.size)
        self.size += more
        self._room.taken[self._owner] += more

    def add(self, size: int) -> None:
        """Let the request have so many bytes more. Raises as :meth:`check`."""
        self.cover(self._free + self.size + size)

    def give_back(self) -> None:
        """End the request's share; a second call does nothing."""
        taken = self._room.taken
        taken[self._owner] -= self.size
        if not taken[self._owner]:
            del taken[self._owner]
        self.size = 0
