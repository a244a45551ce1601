"""A request that costs compute: so many tokens of a model, in different places.

Every server computes the same: the query as it is, then the likeliest tokens, one after another, on
one thread of llama.cpp and without a batch. What differs is who waits meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import queue
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from gateway.config.config import Config
from workers import llama

from .evented import AsyncWork
from .http import Work

CONTEXT = 512
WORKERS = 2
"""Of every pool; the machine of the report has as many cores."""


class Generator:
    """llama.cpp for one request at a time. Generators may share a model."""

    def __init__(self, file: Path | None, model: llama.Model | None = None) -> None:
        """``file`` None: the embedded model. ``model``: the same, loaded already."""
        llama.initialise()
        given = {} if file is None else {"model": str(file)}
        config = Config.model_validate(
            {"workers": 1, "threads": 1, "slots": 1, "ctx": CONTEXT, **given}
        )
        spec = config.worker_spec()
        self.model = model or llama.Model(spec)
        self._context = llama.Context(self.model, spec, llama.geometries(self.model, spec).base)

    def answer(self, body: bytes) -> bytes:
        """Return the answer of /infer. Raises ValueError."""
        given = json.loads(body)
        known, tokens = self.model.tokenize(given["query"]), list[int]()
        at = 0
        for _ in range(given["max_tokens"]):
            self._compute(at, known)
            at += len(known)
            known = [int(self._context.logits(len(known) - 1).argmax())]
            tokens += known
        self._context.drop(0)
        text = b"".join(self.model.pieces[token] for token in tokens)
        return json.dumps({"response": text.decode("utf-8", "replace")}).encode()

    def _compute(self, at: int, tokens: list[int]) -> None:
        if self._context.decode([(0, at, tokens, 1)]) != llama.OK:
            raise ValueError(f"more than the {CONTEXT} tokens that fit")


def inline(file: Path | None) -> AsyncWork:
    """In the event loop itself, which does nothing else meanwhile."""
    generator = Generator(file)

    async def work(body: bytes) -> bytes:
        return generator.answer(body)

    return work


def threads(file: Path | None) -> AsyncWork:
    """In threads of the same process. llama.cpp releases the GIL, the rest needs it."""
    model = Generator(file).model
    mine = threading.local()

    def answer(body: bytes) -> bytes:
        if not hasattr(mine, "generator"):
            mine.generator = Generator(file, model)
        found: bytes = mine.generator.answer(body)
        return found

    return _pooled(ThreadPoolExecutor(WORKERS), answer)


def processes(file: Path | None) -> AsyncWork:
    """In processes, first come first served: the standard library's pool."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(WORKERS, spawn, initializer=_load, initargs=(file,))
    return _pooled(pool, _answer)


def _pooled(pool: Executor, answer: Work) -> AsyncWork:
    async def work(body: bytes) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(pool, answer, body)

    return work


_generator: list[Generator] = []
"""Of this process, if it is one of the pool's."""


def _load(file: Path | None) -> None:
    _generator.append(Generator(file))


def _answer(body: bytes) -> bytes:
    return _generator[0].answer(body)


def study(file: Path | None) -> Work:
    """The study project's design: each connection's thread puts a job into a queue and
    waits for a promise, which a thread of the pool keeps."""
    jobs: queue.SimpleQueue[tuple[bytes, Future[bytes]]] = queue.SimpleQueue()
    model = Generator(file).model

    def worker() -> None:
        generator = Generator(file, model)
        while True:
            body, promise = jobs.get()
            try:
                promise.set_result(generator.answer(body))
            except (ValueError, KeyError) as error:
                promise.set_exception(ValueError(f"not understood: {error}"))

    for _ in range(WORKERS):
        threading.Thread(target=worker, daemon=True).start()

    def work(body: bytes) -> bytes:
        promise: Future[bytes] = Future()
        jobs.put((body, promise))
        return promise.result()

    return work
