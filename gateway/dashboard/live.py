"""One stream for all viewers: looks while there are some, and at no other time."""

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.core.errors import Unavailable
from gateway.dashboard.deltas import Broadcast, Snapshot

VIEWERS = 32
PERIOD_S = 0.25
"""Between two looks."""
REST = 50
"""The pause between looks, in durations of a look: a long queue costs the loop 2 % at most."""
SILENCE_S = 10.0
"""After as many seconds without news a comment is sent: proxies drop connections that are still."""
COMMENT = b": nothing new\n"


class Live:
    """Viewers come and go; each follows at its own pace."""

    def __init__(
        self,
        look: Callable[[], Snapshot],
        clock_s: Callable[[], float],
        *,
        most: int = VIEWERS,
        period_s: float = PERIOD_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        """``clock_s`` is the snapshots' clock; ``most`` viewers at once."""
        self._look = look
        self._clock_s = clock_s
        self._most = most
        self._period_s = period_s
        self._silence_s = silence_s
        self._broadcast = Broadcast()
        self._news = asyncio.Event()
        """Set when there are some, and replaced by a new one."""
        self._task: asyncio.Task[None] | None = None
        self._viewers = 0
        self._closed = False

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return self._viewers

    def join(self) -> None:
        """Take a place among the viewers, until :meth:`leave`. Raises :class:`Unavailable`."""
        if self._closed:
            raise Unavailable("the server is shutting down", retry_after=5)
        if self._viewers >= self._most:
            raise Unavailable(f"{self._most} others watch already", retry_after=10)
        if self._task is None or self._task.done():
            self._refresh()  # what the last viewer saw is old
            self._task = asyncio.create_task(self._run())
        self._viewers += 1

    def leave(self) -> None:
        """Give the place back. The last viewer that goes ends the looking."""
        self._viewers -= 1
        if not self._viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def follow(self) -> AsyncIterator[bytes]:
        """Everything, then what changes, as server-sent events, until :meth:`close`.

        A viewer that is slow to ask for more misses something and gets everything again.
        """
        version = 0
        while not self._closed:
            chunk = self._broadcast.since(version, self._clock_s())
            version = self._broadcast.version
            if chunk:
                yield chunk
            elif not await self._wait():
                yield COMMENT

    def close(self) -> None:
        """End all streams: the server ends."""
        self._closed = True
        self._news.set()
        if self._task is not None:
            self._task.cancel()

    async def _wait(self) -> bool:
        """Return whether news came before it had been silent for long.

        Raises what ended the looking.
        """
        try:
            async with asyncio.timeout(self._silence_s):
                await self._news.wait()
        except TimeoutError:
            return False
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()
        return True

    async def _run(self) -> None:
        clock, rest = asyncio.get_running_loop().time, self._period_s
        try:
            while True:
                await asyncio.sleep(rest)
                begin = clock()
                self._refresh()
                rest = max(self._period_s, REST * (clock() - begin))
        finally:
            self._tell()  # if it was a bug, viewers must not wait for news for ever

    def _refresh(self) -> None:
        if self._broadcast.show(self._look(), self._clock_s()):
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        if not self._closed:
            self._news = asyncio.Event()
