"""All dispatchers of a server, with the tasks without which their requests would wait for ever."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator

from gateway.core.errors import SHUTTING_DOWN
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.invariants import InvariantChecker
from gateway.dispatch.stats import Totals
from gateway.pool import Pool


class Dispatchers:
    """Dispatchers with their loops; replaced ones stay until their last request has ended."""

    def __init__(self, make: Callable[[Pool, Totals | None], Dispatcher]) -> None:
        """``make``: a dispatcher of a pool, with the counters that it goes on with, if any."""
        self._make = make
        self._auditors: dict[Dispatcher, InvariantChecker] = {}
        self._loops: dict[Dispatcher, list[asyncio.Task[None]]] = {}
        self._others: list[asyncio.Task[None]] = []
        """Loops that are no dispatcher's."""
        self._started = False
        self._draining = False
        self._ended = asyncio.Event()

    def __iter__(self) -> Iterator[Dispatcher]:
        return iter(list(self._auditors))

    def add(self, pool: Pool, totals: Totals | None = None) -> Dispatcher:
        """Make a dispatcher; its loop runs once :meth:`start` was called."""
        dispatcher = self._make(pool, totals)
        self._auditors[dispatcher] = InvariantChecker(dispatcher)
        if self._draining:
            dispatcher.drain()
        if self._started:
            self._begin(dispatcher)
        return dispatcher

    def remove(self, dispatcher: Dispatcher) -> None:
        """Forget a dispatcher without requests."""
        dispatcher.close()
        del self._auditors[dispatcher]
        for task in self._loops.pop(dispatcher, ()):
            task.cancel()

    # ------------------------------------------------------------------ life

    def start(self, *others: Coroutine[None, None, None]) -> None:
        """Begin the loops of all, and ``others``, which may end only with a bug."""
        self._started = True
        self._others = [self._watched(each) for each in others]
        for dispatcher in self._auditors:
            self._begin(dispatcher)

    def _begin(self, dispatcher: Dispatcher) -> None:
        auditor = asyncio.create_task(self._auditors[dispatcher].run())
        self._loops[dispatcher] = [self._watched(dispatcher.run()), auditor]

    def _watched(self, loop: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(loop)
        task.add_done_callback(lambda task: None if task.cancelled() else self._ended.set())
        return task

    async def broken(self) -> None:
        """Wait for a bug to end a loop, and raise it: some requests would be served no more."""
        await self._ended.wait()
        for loop in [*self._others, *(loops[0] for loops in self._loops.values())]:
            if loop.done() and not loop.cancelled():
                loop.result()

    async def drain(self, timeout: float) -> None:
        """Take nothing new and finish the rest; after ``timeout`` seconds give it up."""
        self._draining = True
        for dispatcher in self._auditors:
            dispatcher.drain()
        try:
            async with asyncio.timeout(timeout):
                while busy := [each for each in self._auditors if not each.is_idle]:
                    await busy[0].idle()
        except TimeoutError:
            self.abandon()
        for auditor in list(self._auditors.values()):
            await auditor.last_look()

    def abandon(self) -> None:
        """Fail all requests that are still served or wait: the server ends now."""
        for dispatcher in self._auditors:
            dispatcher.abandon(SHUTTING_DOWN)

    async def finish(self, dispatcher: Dispatcher, timeout: float, reason: str) -> None:
        """Wait until a dispatcher's requests have ended; after ``timeout`` seconds fail the rest.

        ``reason`` is told to these.
        """
        try:
            async with asyncio.timeout(timeout):
                await dispatcher.idle()
        except TimeoutError:
            dispatcher.abandon(reason)
        await self._auditors[dispatcher].last_look()

    async def stop(self) -> None:
        """End all loops."""
        tasks = [task for loops in self._loops.values() for task in loops] + self._others
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
