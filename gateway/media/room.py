"""The memory that large bodies may take in all, while they are received and read.

Each of thousands of connections may bring a body of tens of megabytes. So what is beyond the bound
of bodies of text comes out of one budget; a request for which it has not enough is told to come
again. What a request keeps while it waits and runs is bounded by ``--max-queue-bytes`` and by the
slots.
"""

from gateway.core.errors import Unavailable

RETRY_S = 1


class MediaRoom:
    """The budget of one process."""

    def __init__(self) -> None:
        self.taken = 0
        """Bytes."""

    def lease(self, most: int, free: int) -> "MediaLease":
        """Return the share of one request, still empty.

        ``most``: bytes of all requests; ``free``: so many of each request cost nothing.
        """
        return MediaLease(self, most, free)


class MediaLease:
    """The bytes that one request takes of the budget."""

    def __init__(self, room: MediaRoom, most: int, free: int) -> None:
        self._room = room
        self._most = most
        self._free = free
        self.size = 0

    def cover(self, size: int) -> None:
        """Let the request have ``size`` bytes in all. Raises Unavailable if there are not so many.

        A request that is alone gets what it is allowed, whatever the budget.
        """
        more = size - self._free - self.size
        if more <= 0:
            return
        others = self._room.taken - self.size
        if others and others + self.size + more > self._most:
            message = "too many requests with large pictures or sound are received; try again"
            raise Unavailable(message, retry_after=RETRY_S)
        self.size += more
        self._room.taken += more

    def add(self, size: int) -> None:
        """Let the request have so many bytes more. Raises as :meth:`cover`."""
        self.cover(self._free + self.size + size)

    def give_back(self) -> None:
        """End the request's share; a second call does nothing."""
        self._room.taken -= self.size
        self.size = 0
