"""A worker process driven over its own link: the engine without a gateway in front."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bench.processes import Process, children, process
from gateway.config.config import Config
from gateway.pool.entry import engine as compute
from gateway.pool.link import WorkerLink
from gateway.pool.process import WorkerProcess
from gateway.pool.watchdog import Watchdog
from workers.protocol import (
    Chat,
    Delta,
    Failed,
    Finished,
    Generate,
    GenerationParams,
    Ready,
    Report,
    Sampling,
    Started,
    StartupFailed,
    Step,
)

from .client import Answer, Request

START_S = 300
NEVER_S = 86_400
GREEDY = Sampling(seed=0, temperature=0.0)


class Direct:
    """Asks one worker; requests beyond its slots wait here, first come first served."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ids = itertools.count(1)
        self._open: dict[int, tuple[Answer, asyncio.Future[None]]] = {}
        self._free = asyncio.Semaphore(0)
        self.link: WorkerLink | None = None

    async def ask(self, request: Request) -> Answer:
        """Errors are in the answer."""
        answer, id_ = Answer(), next(self._ids)
        async with self._free:
            over = asyncio.get_running_loop().create_future()
            self._open[id_] = answer, over
            assert self.link is not None
            self.link.generate(_generate(id_, request))
            await over
        answer.ended = time.perf_counter()
        return answer

    def on_message(self, link: WorkerLink, message: Report) -> None:
        if isinstance(message, Ready):
            for _ in range(message.slots):
                self._free.release()
            self.ready.set_result(None)
        elif isinstance(message, StartupFailed):
            self.ready.set_exception(RuntimeError(message.message))
        elif isinstance(message, Step):
            now = time.perf_counter()
            for event in message.events:
                answer, over = self._open[event.id]
                if isinstance(event, Started):
                    answer.prompt_tokens = event.prompt_tokens
                    answer.cached_tokens = event.cached_tokens
                elif isinstance(event, Delta | Finished):
                    answer.tokens += len(event.ids)
                    answer.text += event.text
                    if event.text:
                        answer.moments.append(now)
                if isinstance(event, Failed):
                    answer.error = event.message
                if isinstance(event, Failed | Finished):
                    del self._open[event.id]
                    over.set_result(None)

    def on_closed(self, link: WorkerLink) -> None:
        """The worker is gone, and with it whatever was open."""
        if not self.ready.done():
            self.ready.set_exception(RuntimeError("the worker ended"))
        for answer, over in self._open.values():
            answer.error = "the worker ended"
            over.set_result(None)
        self._open.clear()


def _generate(id_: int, request: Request) -> Generate:
    return Generate(
        id=id_, attempt=1, prompt=Chat([*request.messages]), now=time.time(),
        params=GenerationParams(
            GREEDY, max_tokens=request.max_tokens, ignore_eos=True,
            cache_prompt=request.cache_prompt is not False,
        ),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def engine(
    model: Path, *, slots: int, ctx: int, threads: int, batch: int, repack: bool
) -> AsyncIterator[tuple[Direct, Callable[[], list[Process]]]]:
    """A worker for the length of the block, and its processes. Raises RuntimeError."""
    config = Config(
        model=model, workers=1, slots=slots, ctx=ctx, threads=threads, batch=batch, repack=repack
    )
    direct = Direct()
    watchdog = Watchdog(1.0, NEVER_S, NEVER_S)
    worker = WorkerProcess(
        "engine",
        compute,
        config.worker_spec(),
        watchdog,
        direct.on_message,
        direct.on_closed,
    )
    await worker.start()
    direct.link = worker.link

    def family() -> list[Process]:
        found = None if worker.pid is None else process(worker.pid)
        return [] if found is None else [found, *children(found.pid)]

    try:
        await asyncio.wait_for(direct.ready, START_S)
        yield direct, family
    finally:
        worker.link.close()
        await worker.end()
