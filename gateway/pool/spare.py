"""A spare process of a pool with one worker: it has everything but the model.

When the only worker dies, all streams wait until its successor has started, and half of that is the
interpreter and its libraries. A spare process has read those, has a process to render templates
in, and waits; woken, it loads the model like any worker. Loading ahead, too, would save the rest
and cost a second copy of repacked weights and KV cells.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gateway.pool.process import WorkerProcess

log = logging.getLogger("forge.pool")

FIRST_S, MOST_S = 5.0, 60.0
"""Seconds from look to look whether one is needed: the requests that waited for the worker come
first, and a server that ends soon, as that of ``forge run``, never starts one. The time doubles
with each that was not needed, and died all the same."""


class Spare:
    """At most one waiting process."""

    def __init__(self, make: Callable[[], WorkerProcess], wanted: Callable[[], bool]) -> None:
        """``wanted`` is asked before ``make``, which may raise OSError."""
        self._make = make
        self._wanted = wanted
        self._pause = FIRST_S
        self._process: WorkerProcess | None = None

    async def keep(self, stopping: asyncio.Event) -> None:
        """See that one waits, until the pool stops."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await stopping.wait()
            if stopping.is_set():
                await self._discard()
                return
            await self._look()

    async def _look(self) -> None:
        if self._process is not None and not self._process.alive:
            log.warning("the spare process died before it was needed")
            await self._discard()
            self._pause = min(2 * self._pause, MOST_S)
        elif self._process is None and self._wanted():
            try:
                process = self._make()
                process.spawn()
            except OSError as error:
                log.warning("no spare process can be started: %s", error)
                self._pause = min(2 * self._pause, MOST_S)
            else:
                self._process = process

    async def take(self) -> WorkerProcess | None:
        """Wake the waiting process and give it away; None if there is none that lives."""
        process = self._process
        if process is None or not process.alive:
            return None
        self._process, self._pause = None, FIRST_S
        try:
            await process.wake()
        except OSError:
            await process.discard()
            return None
        return process

    async def _discard(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            await process.discard()
