"""Inputs to embed and pairs to rank: from their arrival in the engine to their results.

They have a llama.cpp context of their own, over the same weights, because one that gives vectors
computes more for every token; it is made when the first input comes. The engine lets it compute one
batch in each of its steps.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from workers.kv.kv import KVCache, Memory, ResidentSequence
from workers.kv.snapshots import SnapshotStore
from workers.llama import EmbeddingShape, LoadFailed
from workers.llama.pooling import Pooled, Rows, score
from workers.planning.batcher import share
from workers.planning.geometry import Geometries
from workers.protocol import (
    COMPUTE_FAILED,
    AdapterSet,
    Cancel,
    Event,
    Extra,
    Failed,
    Finished,
    Generate,
    GenerationParams,
    Park,
    Parked,
    Started,
)

log = logging.getLogger("forge.embedder")


class Input:
    """An input to embed, or a pair to rank, on its way through the :class:`Embedder`.

    As a :class:`workers.engine.sequence.EngineSequence`, but its tokens never grow, and what was
    computed of them is lost when it gives up its cells.
    """

    def __init__(self, request: Generate, tokens: list[int]) -> None:
        assert not request.params.generates
        self.request = request
        self.adapted = request.params.adapters
        self.tokens = tokens
        self.suspect = False
        """True if it took part in a batch that failed, and must be computed alone."""
        self.started = False
        """True if the gateway was told that it took a slot."""
        self.restart()

    @property
    def known(self) -> int:
        return len(self.tokens)

    @property
    def computed(self) -> int:
        """Tokens that have cells."""
        return 0 if self.resident is None else self.resident.length

    @property
    def lacking(self) -> int:
        """Tokens that have no cells yet."""
        return len(self.tokens) - self.computed

    def restart(self) -> None:
        """Forget what was computed."""
        self.resident: ResidentSequence | None = None
        self.pooled = Pooled()


Chunk = tuple[Input, int]
"""An input and how many of its tokens the batch computes."""


class Computer(Memory, Protocol):
    """The operations of llama.cpp: :class:`workers.llama.EmbeddingContext`."""

    @property
    def n_ctx(self) -> int: ...

    def adapt(self, adapters: AdapterSet) -> bool: ...

    def embed(
        self, chunks: Sequence[tuple[int, int, Sequence[int], range]]
    ) -> list[Rows] | None: ...


class Embedder:
    """Owns the inputs and their context. Used by the engine's thread alone."""

    def __init__(
        self,
        make: Callable[[EmbeddingShape, int], Computer],
        shape: EmbeddingShape | None,
        slots: int,
    ) -> None:
        """``make`` gives a context for so many sequences; ``shape`` None: no input will come."""
        # Process lifetime.
        self._make = make
        self._shape = shape
        self._slots = slots
        self._context: Computer | None = None
        self._kv: KVCache | None = None
        # Changes with every request.
        self._running: list[Input] = []
        """Inputs with a sequence and cells for all of their tokens, oldest first."""
        self._waiting: list[Input] = []
        # Step lifetime.
        self._events: list[Event] = []

    # ------------------------------------------------------------------ inputs come and go

    @property
    def load(self) -> int:
        """Inputs that have no result yet."""
        return len(self._running) + len(self._waiting)

    @property
    def cells(self) -> int:
        """Cells that inputs hold."""
        return self._kv.used if self._kv is not None else 0

    def arrive(self, new: Input) -> None:
        """An input waits for its turn: by base priority, then by arrival."""
        self._wait(new)

    def withdraw(self, message: Cancel | Park) -> list[Event]:
        """An input loses its slot; the answer, or nothing if that input is not here.

        One that is parked comes back as if it were new: it is short.
        """
        found = next((i for i in self._all() if i.request.id == message.id), None)
        if found is None:
            return []
        self._forget(found)
        id_, attempt = found.request.id, found.request.attempt
        if isinstance(message, Park):
            return [Parked(id_, attempt)]
        return [Finished(id_, attempt, "cancelled", [], "")]

    def fail_using(self, adapter: str, message: str) -> list[Event]:
        """Fail the inputs that need an adapter; what there is to tell."""
        for known in self._all():
            if any(digest == adapter for digest, _ in known.adapted):
                self._fail(known, message)
        events, self._events = self._events, []
        return events

    def check(self) -> None:
        """Raise :class:`workers.kv.kv.LedgerMismatch` on a leak; for idle moments and tests."""
        if self._kv is not None:
            self._kv.check()

    def _all(self) -> list[Input]:
        return [*self._running, *self._waiting]

    def _wait(self, new: Input, *, first: bool = False) -> None:
        """``first`` or last among those of its priority."""
        rank = new.request.priority
        ahead = [
            i.request.priority > rank or (not first and i.request.priority == rank)
            for i in self._waiting
        ]
        self._waiting.insert(ahead.index(False) if False in ahead else len(ahead), new)

    def _release(self, known: Input) -> None:
        """Take an input's cells, and with them what was computed."""
        if known.resident is not None and self._kv is not None:
            self._kv.drop(known.resident)
        known.restart()

    def _forget(self, known: Input) -> None:
        self._release(known)
        for owner in (self._running, self._waiting):
            if known in owner:
                owner.remove(known)

    def _fail(self, known: Input, message: str) -> None:
        request = known.request
        self._events.append(Failed(request.id, request.attempt, COMPUTE_FAILED, message))
        self._forget(known)

    # ------------------------------------------------------------------ one batch

    def step(self, budget: int) -> tuple[int, list[Event]]:
        """Compute up to ``budget`` tokens; how many it were, and what there is to tell.

        Inputs that must be whole may take more, if they are longer.
        """
        tokens = self._compute(budget) if self.load else 0
        events, self._events = self._events, []
        return tokens, events

    def _compute(self, budget: int) -> int:
        if not self._open():
            return 0
        assert self._context is not None
        assert self._kv is not None
        assert self._shape is not None
        self._admit(self._kv)
        chunks = self._plan(budget)
        if chunks:
            self._context.adapt(chunks[0][0].adapted)
        batch = []
        for known, count in chunks:
            assert known.resident is not None
            first, end = known.computed, known.computed + count
            wanted = self._shape.pooling.wanted(first, count, known.known)
            batch.append((known.resident.number, first, known.tokens[first:end], wanted))
        found = self._context.embed(batch)
        if found is None:
            self._failed(chunks)
            return 0
        for (known, count), rows in zip(chunks, found, strict=True):
            assert known.resident is not None
            self._kv.extend(known.resident, count)
            self._take(known, rows)
        return sum(count for _, count in chunks)

    def _open(self) -> bool:
        """Make the context when it is first needed. Without it no input can be served."""
        if self._context is not None:
            return True
        assert self._shape is not None, "prepared without a shape"
        try:
            self._context = self._make(self._shape, self._slots)
        except LoadFailed as error:
            log.error("no inputs can be computed: %s", error)
            for known in self._all():
                self._fail(known, "there is no room to compute this input")
            return False
        together = Geometries(self._slots, self._context.n_ctx, "on")
        self._kv = KVCache(self._context, together, SnapshotStore(0), cuts=True)
        return True

    def _admit(self, kv: KVCache) -> None:
        """Give sequences to waiting inputs, in their order, while there are cells for all."""
        owed = sum(known.lacking for known in self._running)
        while self._waiting and kv.has_number and self._waiting[0].lacking <= kv.free(owed):
            known = self._waiting.pop(0)
            self._running.append(known)
            known.resident = kv.attach(known.tokens, share=False)
            owed += known.lacking
            if not known.started:
                known.started = True
                request = known.request
                self._events.append(Started(request.id, request.attempt, known.known, 0))

    def _plan(self, budget: int) -> list[Chunk]:
        """The next batch; never empty when inputs are admitted."""
        assert self._shape is not None
        budget = min(budget, self._shape.batch)
        candidates = next(([i] for i in self._running if i.suspect), self._running)
        # Inputs are short: those of the oldest one's adapters go first.
        candidates = [i for i in candidates if i.adapted == candidates[0].adapted]
        if not self._shape.whole:
            counts = share(budget, [known.lacking for known in candidates])
            return [(i, n) for i, n in zip(candidates, counts, strict=True) if n]
        chunks = [(candidates[0], candidates[0].known)]
        for known in candidates[1:]:
            budget -= chunks[-1][1]
            if known.known > budget:
                break
            chunks.append((known, known.known))
        return chunks

    def _take(self, known: Input, rows: Rows) -> None:
        """More tokens of an input are computed; the last ones make its vector or its score."""
        known.pooled.add(rows)
        if known.lacking:
            return
        request = known.request
        extra = self._result(known.pooled, request.params)
        if extra is None:
            self._fail(known, "the model gave a result that is not made of numbers")
            return
        self._events.append(Finished(request.id, request.attempt, "stop", [], "", extra))
        self._forget(known)

    def _result(self, pooled: Pooled, params: GenerationParams) -> Extra | None:
        """Return the vector or the score that was asked for; None if it is no number."""
        if params.ranking is not None:
            assert self._shape is not None
            normalize = params.ranking.normalize
            found = score(pooled.values(), self._shape.scale, normalize=normalize)
            return None if found is None else Extra(score=found)
        assert params.embedding is not None
        vector = pooled.vector(params.embedding.dimensions)
        return None if vector is None else Extra(vector=vector)

    def _failed(self, chunks: list[Chunk]) -> None:
        """The batch may have left any of its cells: start over, so that only a guilty one fails."""
        log.warning("llama_decode failed on %d inputs to embed", len(chunks))
        if len(chunks) == 1:
            self._fail(chunks[0][0], "llama_decode failed on this input")
            return
        for known, _ in reversed(chunks):
            known.suspect = True
            self._running.remove(known)
            self._release(known)
            self._wait(known, first=True)
