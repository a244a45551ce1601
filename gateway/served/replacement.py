"""Replace a model's workers by others while it serves: another file, or other options.

Where memory has room for both, the new workers come up *beside* the old ones. Once the first of
them is ready, all requests go to them of which no token was sent (see
`gateway.dispatch.handover`); the old ones finish the others and end.

Where it has not, *worker by worker*: an old worker gets no new work, finishes what it has and ends,
and only then a new one begins in its place; as soon as that is ready, requests go to it, and the
other places follow. An example with two workers, A and B, and streams on both: A finishes its
streams while B serves all that comes. A' takes A's place and all requests; when B has finished its
streams, B' follows. With one worker the queue waits between A's last stream and A' being ready, and
nothing fails.

If the new workers can't start, the old ones go on: beside, nothing has changed; else the worker
that has ended comes back. It computes the old file, which its pool holds open, whatever its name
leads to now. A worker that dies meanwhile, old or new, is replaced by one of its own kind.
"""

import asyncio
from collections.abc import Callable

from gateway.pool import ResizablePool
from gateway.served.dispatchers import Dispatchers
from gateway.served.revision import Revision
from gateway.served.served_model import ServedModel

LOOK_S, LOOKS = 0.05, 200
"""Between two looks at questions that old workers have yet to answer, and how many there are."""
OVERDUE = "the model was replaced, and the time for requests on its old workers is over"


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

    async def beside(self) -> None:
        """Return when requests go to the new workers. Raises PoolFailed: the old ones go on."""
        await self._new.start()
        self._switch(self._new)

    def _switch(self, to: Revision) -> None:
        self._served.switch(to)
        self._switched()

    async def worker_by_worker(self) -> None:
        """Return when all places have new workers. Raises PoolFailed: the old ones go on."""
        old, new = self._old.pool, self._new.pool
        assert isinstance(old, ResizablePool), "others have room, or are refused"
        assert isinstance(new, ResizablePool), "it is of the same kind"
        alone = old.size == 1
        self._served.settled.clear()
        try:
            await self._first(old, new, alone=alone)
        finally:
            self._served.settled.set()
        places = new.capacity - new.size
        while old.size:
            if old.size == 1:  # a place that is left for what was begun and has no slot
                await self._finished()
            await old.shrink()
            places = self._grow(new, places, 1)
        self._grow(new, places, places)

    async def _first(self, old: ResizablePool, new: ResizablePool, *, alone: bool) -> None:
        """Put the first new worker into an old one's place."""
        try:
            if alone:
                self._switch(self._new)  # what comes waits there
                await self._finished()
            await old.shrink()
            new.begin_with(1)
            await self._new.start()
        except BaseException:
            if alone:
                self._switch(self._old)
                self._served.outgoing.remove(self._new)
            old.grow()
            raise
        if not alone:
            self._switch(self._new)

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
