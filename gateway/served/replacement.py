"""Replace a model's workers by others while it serves: another file, or other options.

Where memory has room for both, the new workers come up *beside* the old ones. Once the first of
them is ready, all requests go to them of which no token was sent (see
`gateway.dispatch.handover`); the old ones finish the others and end.

Where it has not, *worker by worker*: an old worker gets no new work, finishes what it has and ends,
and only then a new one begins in its place; as soon as that is ready, requests go to it, and the
other places follow. An example with two workers, A and B, and streams on both: A finishes its
streams while B serves all that comes. A' takes A's place and all requests; when B has finished its
streams, B' follows. With one worker the queue waits between A's last stream and A' being ready, and
nothing fails. If A's streams take longer than a patience, they go on on B, from their tokens, and A
ends. What is on the last old worker fails after a patience: no other one computes that file.

If the new workers can't start, the old ones go on: beside, nothing has changed; else the worker
that has ended comes back. It computes the old file, which its pool holds open, whatever its name
leads to now. A worker that dies meanwhile, old or new, is replaced by one of its own kind.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gateway.pool import Pool, PoolFailed, ResizablePool
from gateway.served.dispatchers import Dispatchers
from gateway.served.revision import Revision
from gateway.served.served_model import ServedModel

log = logging.getLogger("forge.reload")

START_S = 3600.0
"""Seconds that the first new worker may take; in a cluster it may wait for a place."""
TOLD_S = 10.0
"""Seconds of waiting after which the log has a line of it."""
LOOK_S, LOOKS = 0.05, 200
"""Between two looks at questions that old workers have yet to answer, and how many there are."""
OVERDUE = "the model was replaced, and the time for requests on its old workers is over"
FAIL, MOVE = "these fail", "another old worker goes on with these"


class Replacement:
    """One model's."""

    def __init__(
        self,
        served: ServedModel,
        new: Revision,
        dispatchers: Dispatchers,
        patience_s: float,
        switched: Callable[[], None],
    ) -> None:
        """``patience_s``: seconds that old requests have; then they fail.

        ``switched`` is called when the model's name and settings may have changed.
        """
        self._served = served
        self._old, self._new = served.current, new
        self._dispatchers = dispatchers
        self._patience_s = patience_s
        self._switched = switched
        self._waits: tuple[Callable[[], int], str, float] | None = None
        """Requests that the reload waits for: their number, what becomes of them, and when."""

    def waiting(self) -> str | None:
        """Return what is waited for, in words; None: for no request."""
        if self._waits is None:
            return None
        count, then, until_s = self._waits
        number, left = count(), max(0.0, until_s - asyncio.get_running_loop().time())
        told = "1 request has" if number == 1 else f"{number} requests have"
        return f"{self._served.name}: {told} its old workers still; in {left:.0f} s {then}"

    @contextmanager
    def _waiting(self, count: Callable[[], int], then: str) -> Iterator[None]:
        """Tell of a wait, which ends after the patience at the latest."""
        loop = asyncio.get_running_loop()
        self._waits = count, then, loop.time() + self._patience_s
        timer = loop.call_later(TOLD_S, self._log)
        try:
            yield
        finally:
            timer.cancel()
            self._waits = None

    def _left(self) -> int:
        """Return how many requests the old workers have, those between two slots included."""
        stats = self._old.dispatcher.stats
        return stats.running() + stats.depth() + stats.paused()

    def _log(self) -> None:
        log.warning("the reload waits: %s", self.waiting())

    async def beside(self) -> None:
        """Return when requests go to the new workers. Raises PoolFailed: the old ones go on."""
        await self._start()
        self._switch(self._new)

    async def _start(self) -> None:
        """Return when a new worker is ready. Raises PoolFailed, also if none has had a place."""
        try:
            async with asyncio.timeout(START_S):
                await self._new.start()
        except TimeoutError:
            raise PoolFailed(f"no new worker was ready within {START_S:g} s") from None

    def _switch(self, to: Revision) -> None:
        self._served.switch(to)
        self._switched()

    async def worker_by_worker(self) -> None:
        """Return when all places have new workers. Raises PoolFailed: the old ones go on."""
        old, new = self._old.pool, self._new.pool
        assert isinstance(old, ResizablePool), "others have room, or are refused"
        assert isinstance(new, ResizablePool), "it is of the same kind"
        await old.hold()
        alone = old.size == 1
        self._served.settled.clear()
        try:
            await self._first(old, new, alone=alone)
        finally:
            self._served.settled.set()
        places = new.capacity - new.size
        overdue = asyncio.create_task(self._finished())  # no worker waits for longer
        try:
            with self._waiting(self._left, FAIL):
                while old.size:
                    if old.size == 1:  # a place that is left for what was begun and has no slot
                        await overdue
                    await old.shrink()
                    places = self._grow(new, places, 1)
        finally:
            await _cancelled(overdue)
        self._grow(new, places, places)

    async def _first(self, old: ResizablePool, new: ResizablePool, *, alone: bool) -> None:
        """Put the first new worker into an old one's place."""
        try:
            if alone:
                self._switch(self._new)  # what comes waits there
                with self._waiting(self._left, FAIL):
                    await self._finished()
                await old.shrink()
            else:
                await self._shrunk(old)
            new.begin_with(1)
            await self._start()
        except BaseException:
            if alone:
                self._switch(self._old)
                self._served.outgoing.remove(self._new)
            old.resume()
            raise
        if not alone:
            self._switch(self._new)

    async def _shrunk(self, old: ResizablePool) -> None:
        """End an old worker; after the patience the others go on with what it still has."""
        ending = asyncio.create_task(old.shrink())
        try:
            await asyncio.sleep(0)  # it chooses one
            with self._waiting(lambda: len(_leaving(self._old.pool)), MOVE):
                done, _ = await asyncio.wait({ending}, timeout=self._patience_s)
                if not done:
                    for id_ in _leaving(self._old.pool):
                        self._old.pool.park(id_)
                await ending
        finally:
            await _cancelled(ending)

    @staticmethod
    def _grow(new: ResizablePool, places: int, by: int) -> int:
        """Start so many new workers, if there are ``places``; return how many are left."""
        for _ in range(min(places, by)):
            new.grow()
        return places - min(places, by)

    async def finish(self) -> None:
        """Wait for the ends of requests on the old workers, and end these."""
        old = self._old
        old.pool.drain()
        await self._finished()
        for _ in range(LOOKS):
            if not old.asked:
                break
            await asyncio.sleep(LOOK_S)
        await old.pool.stop()
        self._served.forget(old)
        self._dispatchers.remove(old.dispatcher)

    async def _finished(self) -> None:
        await self._dispatchers.finish(self._old.dispatcher, self._patience_s, OVERDUE)


def _leaving(pool: Pool) -> list[int]:
    """Return the ids of what is in the slots of workers that are about to end."""
    return [id_ for each in pool.workers() if each.state == "draining" for id_ in each.held]


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End a task that may have ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
