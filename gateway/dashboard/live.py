"""One stream for all viewers: looks while there are some, and at no other time."""

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.errors import SHUTTING_DOWN, Unavailable
from gateway.dashboard.deltas import Broadcast, Snapshot

VIEWERS = 32
PERIOD_S = 0.25
"""Between two looks."""
REST = 50
"""The pause between looks, in durations of a look: a long queue costs the loop 2 % at most."""
SILENCE_S = 10.0
"""After as many seconds without news a comment is sent: proxies drop connections that are still."""
COMMENT = b": nothing new\n"


class _Audience:
    """Viewers that see the same models."""

    def __init__(self, key: ApiKey) -> None:
        self.broadcast = Broadcast()
        self.viewers = 0
        self._key = key
        self._news = asyncio.Event()
        """Set when there are some, and replaced by a new one."""

    def show(self, snapshot: Snapshot, now_s: float) -> bool:
        """Tell whether there are news for these viewers."""
        if self._key.models is not None:
            snapshot = snapshot.of_models(self._key.may_use)
        return self.broadcast.show(snapshot, now_s)

    def tell(self, *, last: bool) -> None:
        """Wake the viewers; ``last``: nothing follows."""
        self._news.set()
        if not last:
            self._news = asyncio.Event()

    async def news(self) -> None:
        """Wait for the next :meth:`tell`."""
        await self._news.wait()


class Live:
    """Viewers come and go; each follows at its own pace.

    The keys of all viewers with the same list of models get the same bytes.
    """

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
        self._audiences: dict[tuple[str, ...] | None, _Audience] = {}
        """By the models that their keys are limited to."""
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return sum(each.viewers for each in self._audiences.values())

    def join(self, key: ApiKey = ANYONE) -> None:
        """Take a place among the viewers, until :meth:`leave`. Raises :class:`Unavailable`.

        ``key``: the viewer's, which may be limited to some models.
        """
        if self._closed:
            raise Unavailable(SHUTTING_DOWN, retry_after=5)
        if self.viewers >= self._most:
            raise Unavailable(f"{self._most} others watch already", retry_after=10)
        audience = self._audiences.get(key.models) or _Audience(key)
        rests = self._task is None or self._task.done()
        if rests or not audience.broadcast.version:
            self._refresh(audience)  # what the last viewer saw is old
        if rests:
            self._task = asyncio.create_task(self._run())
        self._audiences[key.models] = audience
        audience.viewers += 1

    def leave(self, key: ApiKey = ANYONE) -> None:
        """Give the place back. The last viewer that goes ends the looking."""
        audience = self._audiences[key.models]
        audience.viewers -= 1
        if not audience.viewers:
            del self._audiences[key.models]
        if not self._audiences and self._task is not None:
            self._task.cancel()
            self._task = None

    async def follow(self, key: ApiKey = ANYONE) -> AsyncIterator[bytes]:
        """Everything, then what changes, as server-sent events, until :meth:`close`.

        A viewer that is slow to ask for more misses something and gets everything again.
        """
        version, audience = 0, self._audiences[key.models]
        while not self._closed:
            chunk = audience.broadcast.since(version, self._clock_s())
            version = audience.broadcast.version
            if chunk:
                yield chunk
            elif not await self._wait(audience):
                yield COMMENT

    def close(self) -> None:
        """End all streams: the server ends."""
        self._closed = True
        self._tell()
        if self._task is not None:
            self._task.cancel()

    async def _wait(self, audience: _Audience) -> bool:
        """Return whether news came before it had been silent for long.

        Raises what ended the looking.
        """
        try:
            async with asyncio.timeout(self._silence_s):
                await audience.news()
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

    def _refresh(self, *newcomer: _Audience) -> None:
        snapshot, now_s = self._look(), self._clock_s()
        for audience in {*self._audiences.values(), *newcomer}:
            if audience.show(snapshot, now_s):
                audience.tell(last=self._closed)

    def _tell(self) -> None:
        for audience in self._audiences.values():
            audience.tell(last=self._closed)
