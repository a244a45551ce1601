"""``python -m workers.tools.measure``: the speed of one worker's llama.cpp, for ``forge tune``.

Lines of JSON on stdin and stdout: a WorkerSpec, answered by Loaded or MeasureFailed; then each
Measure is answered by Measured. Several of these processes that get the same line at the same time
measure what as many workers do side by side.
"""

import os
import random
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from workers import llama
from workers.engine.embedder import Embedder
from workers.engine.engine import Engine, Inbox
from workers.engine.outbox import Outbox
from workers.engine.sequence import EngineSequence
from workers.kv.kv import KVCache
from workers.kv.snapshots import SnapshotStore
from workers.kv.state import SequenceState
from workers.parent import die_with_parent
from workers.planning.geometry import Geometries, Geometry, padded
from workers.planning.step_budget import StepBudget
from workers.protocol import (
    MIX_OUTPUT,
    MIX_PROMPT,
    Delta,
    Failed,
    Finished,
    Generate,
    GenerationParams,
    Loaded,
    Measure,
    Measured,
    MeasureFailed,
    Rate,
    Sampling,
    Step,
    Tokens,
    WorkerSpec,
)

NICENESS = 5
"""The niceness of a worker."""
LARGEST_BATCH = 32
"""Streams that "decode" may be asked about, where there are no more slots."""
MOST_STEPS = 32
"""Steps of each size: enough for a median, and streams stay short."""
LEAST_ROOM = 3
"""Steps of a stream, without which there is no median."""
COMPUTED = 256
"""Tokens before those that are measured that are computed, and not copies of such."""
PATIENCE = 4.0
"""A single step of more than so many times the time allowed is the last of its kind."""


class Enough(Exception):
    """The mix has been measured."""


class Bench:
    """A model and a context as a worker has them."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Raises :class:`workers.llama.LoadFailed`."""
        self.spec = spec
        self.model = llama.Model(spec)
        self._geometries = llama.geometries(self.model, spec)
        self.context = llama.Context(self.model, spec, self._geometries.base)
        if not self.context.generates:
            raise llama.LoadFailed("the model can't generate, and nothing else is measured")
        self._random = random.Random(0)
        self._budget = StepBudget(spec.batch, *spec.patience, tiles=spec.flash_attn != "off")
        """Kept from one measurement to the next, since it learns."""
        self._states: dict[int, SequenceState] = {}
        """Of sequences, by their lengths: to compute one takes longer than to measure with it."""

    def close(self) -> None:
        """Free what llama.cpp holds."""
        self.context.close()
        self.model.close()

    def prompt(self, count: int) -> list[int]:
        """Return random tokens, unlike the start of any other prompt."""
        return self._random.choices(range(self.model.n_vocab), k=count)

    def clear(self, slots: int | None = None) -> None:
        """Make a context without states, divided for so many sequences; None: as a worker has."""
        asked = self._geometries
        if slots is not None:
            asked = Geometries(slots, asked.longest, self.spec.kv_unified)
        self.context.reshape(asked.base)

    def decode(self, sizes: list[int], seconds: float, depth: int = MIX_PROMPT) -> Iterator[Rate]:
        """Measure steps of one token for each of ``size`` streams, for each size."""
        for size in sizes:
            each = self._geometries.longest // size
            before = min(depth, each - max(LEAST_ROOM, each // 5))
            room = each - before
            if (
                size > max(self.spec.slots, LARGEST_BATCH, 1)
                or size > self.spec.batch
                or room < LEAST_ROOM
            ):
                return
            self._fill(size, before)
            took = list[float]()
            begin = time.perf_counter()
            while len(took) < min(room, MOST_STEPS) and (
                len(took) < 3 or time.perf_counter() - begin < seconds
            ):
                at = before + len(took)
                took.append(self._compute([(seq, at, self.prompt(1), 1) for seq in range(size)]))
            step = statistics.median(took[1:])  # the first has the graph to make
            yield Rate(size, size / step)
            if step > PATIENCE * seconds:
                return

    def _fill(self, sequences: int, depth: int) -> None:
        """Have so many sequences of ``depth`` tokens each, and no others."""
        if depth and depth not in self._states:
            self._states[depth] = self._state(depth)
        self.clear(sequences)
        if depth:
            for seq in range(sequences):
                self.context.restore(seq, self._states[depth])

    def _state(self, depth: int) -> SequenceState:
        """Make the state of ``depth`` tokens: the first few, and copies of them, if that can be.

        What they are does not change what attention to them takes, and to compute them takes long.
        """
        self.context.reshape(Geometry(2, padded(2 * depth), unified=True))
        done = 0
        while done < depth:
            copied = min(done, depth - done) if done >= COMPUTED and self.model.can_cut else 0
            if copied and self._copy(copied):
                done += copied
                continue
            count = min(self.spec.batch, depth - done, COMPUTED if self.model.can_cut else depth)
            self._compute([(0, done, self.prompt(count), 1)])
            done += count
        return self.context.save(0)

    def _copy(self, count: int) -> bool:
        """Append the first ``count`` tokens of a sequence to it; False if that can't be."""
        self.context.restore(1, self.context.save(0))
        self.context.cut(1, count)
        if self.context.append(0, 1):
            return True
        self.context.drop(1)
        return False

    def prefill(self, sizes: list[int], seconds: float, depth: int = 0) -> Iterator[Rate]:
        """Measure one prompt at a time, of ``size`` tokens in one step, for each size.

        ``depth``: tokens before it, or as many as there is room for.
        """
        fitting = [n for n in sizes if n <= min(self.spec.batch, self._geometries.longest)]
        before = max(0, min(depth, self._geometries.longest - max(fitting, default=0)))
        self._fill(1, before)
        for size in fitting:
            took = list[float]()
            while not took or (sum(took) < seconds and len(took) < MOST_STEPS):
                took.append(self._compute([(0, before, self.prompt(size), 1)]))
                self.context.drop(0)
                if before:
                    self.context.restore(0, self._states[before])
            yield Rate(size, size / statistics.median(took))
            if min(took) > PATIENCE * seconds:
                return

    def _compute(self, chunks: list[tuple[int, int, list[int], int]]) -> float:
        """Return how many seconds a batch takes, until its results can be read."""
        begin = time.perf_counter()
        status = self.context.decode(chunks)
        if status != llama.OK:
            raise llama.LoadFailed(f"llama_decode failed with {status}")
        self.context.logits(len(chunks[0][2]) - 1)
        return time.perf_counter() - begin

    def mix(self, sizes: list[int], seconds: float) -> Iterator[Rate]:
        """Measure the engine with ``size`` clients that send their next requests at once."""
        for size in sizes:
            self.clear()
            crowd = MeasuredClients(self, size, seconds)
            store = SnapshotStore(self.spec.cache_bytes)
            kv = KVCache(self.context, self._geometries, store, cuts=self.model.can_cut)
            embedder = Embedder(
                partial(llama.EmbeddingContext, self.model, self.spec), None, self.spec.slots
            )
            engine = Engine(
                self.context,
                kv,
                embedder,
                crowd.inbox,
                crowd.come,
                crowd.hear,
                self._budget,
                Outbox(patience_ms=0),
            )
            try:
                engine.run()
            except Enough:
                yield Rate(size, crowd.rate)


class MeasuredClients:
    """Clients of an engine, and their throughput together.

    They begin with one prompt, computed once, and answers of different lengths, so that from then
    on their requests end one after the other. What is measured begins when all have their first
    token and ends when another prompt has its own: so as much prefill as decode is in it as in the
    long run, however short it is.
    """

    def __init__(self, bench: Bench, size: int, seconds: float) -> None:
        self.inbox: Inbox = Inbox()
        self._bench = bench
        self._limit = min(bench.model.n_ctx_train, bench.context.n_ctx)
        self._size = size
        self._seconds = seconds
        self._sent = 0
        self._begun = set[int]()
        self._began: float | None = None
        self._tokens = 0
        self.rate = 0.0
        """Return tokens of output per second."""
        first = bench.prompt(min(MIX_PROMPT, self._limit // 2))
        for index in range(size):
            self._send(first, 1 + max(1, MIX_OUTPUT * (index + 1) // size))

    def come(self) -> None:
        """Do nothing: the engine finds its messages in the inbox."""

    def hear(self, step: Step) -> None:
        """Take one step's events. Raises Enough, or LoadFailed after a failed step."""
        newcomers = False
        for event in step.events:
            if isinstance(event, Failed):
                raise llama.LoadFailed(event.message)
            if not isinstance(event, Delta | Finished):
                continue
            newcomers |= event.id not in self._begun
            self._begun.add(event.id)
            self._tokens += len(event.ids)
            if isinstance(event, Finished):
                prompt = min(MIX_PROMPT, self._limit // 2)
                self._send(self._bench.prompt(prompt), MIX_OUTPUT)
        if newcomers:
            self._judge()

    def _judge(self) -> None:
        now = time.perf_counter()
        later = len(self._begun) - self._size
        if self._began is None:
            if later >= 0:
                self._began, self._tokens = now, 0
        elif later >= max(1, self._size // 4) and now - self._began >= self._seconds:
            self.rate = self._tokens / (now - self._began)
            raise Enough

    def _send(self, prompt: list[int], output: int) -> None:
        self._sent += 1
        request = Generate(
            id=self._sent,
            attempt=1,
            prompt=Tokens(prompt),
            params=GenerationParams(
                Sampling(seed=0, temperature=0.0), max_tokens=output, ignore_eos=True
            ),
            now=0.0,
        )
        self.inbox.put(EngineSequence(request, self._bench.model, prompt, self._limit))


def memory() -> int:
    """Return this process's memory in bytes: PSS where it is known, else its peak RSS."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def serve(read: BinaryIO, write: Callable[[msgspec.Struct], None]) -> None:
    """Load the model of the first line and answer the other lines, until there are none."""
    spec = msgspec.json.decode(read.readline(), type=WorkerSpec)
    llama.initialise()
    bench: Bench | None = None
    try:
        bench = Bench(spec)
        write(Loaded(bench.context.n_ctx))
        for line in read:
            wanted = msgspec.json.decode(line, type=Measure)
            ways: dict[str, Callable[..., Iterator[Rate]]] = {
                "decode": bench.decode,
                "prefill": bench.prefill,
                "mix": bench.mix,
            }
            deep = {} if wanted.depth is None else {"depth": wanted.depth}
            rates = list(ways[wanted.what](wanted.sizes, wanted.seconds, **deep))
            write(Measured(rates, memory()))
    except llama.LoadFailed as error:
        write(MeasureFailed(str(error)))
    finally:
        if bench is not None:
            bench.close()


def main() -> None:
    """Entry of the process."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent ends this process
    os.nice(NICENESS)
    if sys.platform == "linux":
        # A candidate may need more memory than there is; no other process should be killed for it.
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Output of libraries must not get between our lines.
    with os.fdopen(os.dup(1), "wb") as ours:
        os.dup2(2, 1)

        def write(message: msgspec.Struct) -> None:
            ours.write(msgspec.json.encode(message) + b"\n")
            ours.flush()

        serve(sys.stdin.buffer, write)


if __name__ == "__main__":
    main()
