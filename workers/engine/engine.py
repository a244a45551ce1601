"""The loop of a worker: take requests, plan a batch, decode, sample, tell.

One llama.cpp context holds all sequences; each step is one call of ``llama_decode`` over one token
of every decoding sequence plus prefill of waiting prompts, then one over inputs to embed, if there
are any. A frame tells what it brought; quick steps share one.
"""

import logging
import queue
import time
from collections.abc import Callable
from functools import partial

from workers import protocol
from workers.engine.adapter_groups import AdapterGroups, load_adapter
from workers.engine.drafting import Drafting
from workers.engine.embedder import Embedder, Input
from workers.engine.media_steps import MediaSteps, RowsArrived, RowSource
from workers.engine.new_tokens import NO_TOKENS, NewTokens
from workers.engine.outbox import Outbox
from workers.engine.reporter import Reporter
from workers.engine.scheduler import Scheduler
from workers.engine.sequence import Chunk, EngineSequence
from workers.engine.shares import shares
from workers.kv.kv import KVCache
from workers.llama import NO_CELLS, OK, Context
from workers.output.constraint import BiasedAway, ConstraintFailed
from workers.planning.batcher import plan, rows_of, turn
from workers.planning.passes import StepPart, order, passes_of
from workers.planning.step_budget import StepBudget
from workers.protocol import (
    AdapterLoaded,
    Cancel,
    Extra,
    Load,
    LoadAdapter,
    Park,
    Step,
    UnloadAdapter,
)
from workers.refused import InputRefused

log = logging.getLogger("forge.engine")

Message = EngineSequence | Input | Cancel | Park | LoadAdapter | UnloadAdapter | RowsArrived
Inbox = queue.SimpleQueue[Message]
NOT_THERE = "the adapter of this request is not loaded"
ROWS_S = 0.1
"""Seconds between two looks at other things, where all that is left to do waits for rows."""


class Engine:
    """Owns the context. Everything but the inbox is touched by the engine's thread alone."""

    def __init__(
        self,
        context: Context,
        kv: KVCache,
        embedder: Embedder,
        inbox: Inbox,
        receive: Callable[[], None],
        send: Callable[[Step], None],
        budget: StepBudget,
        outbox: Outbox,
        drafting: Drafting | None = None,
        on_adapter: Callable[[AdapterLoaded], None] = lambda loaded: None,
        rows: RowSource | None = None,
    ) -> None:
        """``budget``: what a step may compute; ``send`` writes a frame to the gateway.

        ``outbox``: which steps share a frame. ``drafting``: gives streams drafts to verify, if they
        are to have some. ``on_adapter`` tells the gateway what came of loading an adapter.

        ``rows`` fetches those of media, if the model takes any.

        ``receive`` brings into the inbox what the gateway has sent so far, without waiting.
        """
        # Process lifetime.
        self._context = context
        self._kv = kv
        self._embedder = embedder
        self._inbox = inbox
        self._receive = receive
        self._budget = budget
        self._drafting = drafting
        self._adapters = context.adapters
        self._on_adapter = on_adapter
        # Changes with every request.
        self.scheduler = Scheduler(kv)
        self._groups = AdapterGroups(context)
        self._media = MediaSteps(context, rows)
        self.reporter = Reporter(outbox, send)
        # Step lifetime.
        self._slice: tuple[EngineSequence, int] | None = None
        """A sequence whose next token is a medium's row, and how many rows the step computes."""
        self._stalled = False
        """True if the step had nothing to compute but what waits for rows."""
        self._resting = False
        """True if streams sat the step out."""

    def run(self) -> None:
        """Serve for ever; the process ends when its link does."""
        while True:
            self._drain(block=self._stalled or not self.busy, wait_s=ROWS_S if self.busy else None)
            started = time.perf_counter()
            self._admit()
            self._hurry()
            self._embed(self._step())
            self._flush((time.perf_counter() - started) * 1000)

    @property
    def busy(self) -> bool:
        """Return whether there is anything to compute."""
        return self.scheduler.busy or self._embedder.load > 0

    # ------------------------------------------------------------------ requests come and go

    def _drain(self, *, block: bool, wait_s: float | None = None) -> None:
        """Take everything that was sent; wait for the first message if there is nothing to do.

        ``wait_s``: for so long at most.
        """
        self._receive()
        try:
            self._take(self._inbox.get(block, wait_s))
            while True:
                self._take(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _take(self, message: Message) -> None:
        if isinstance(message, EngineSequence | Input):
            self._arrive(message)
            return
        if isinstance(message, LoadAdapter | UnloadAdapter):
            self._change_adapters(message)
            return
        if isinstance(message, RowsArrived):
            return
        self.reporter.add(self._embedder.withdraw(message))
        sequence = self.scheduler.of(message.id)
        if sequence is None:
            return
        if isinstance(message, Cancel):
            self._finish(sequence, "cancelled")
        elif self.scheduler.park(sequence):
            self.reporter.parked(sequence)

    def _arrive(self, new: EngineSequence | Input) -> None:
        if self._adapters.missing(new.adapted):
            self.reporter.failed(new.request, protocol.COMPUTE_FAILED, NOT_THERE)
        elif isinstance(new, EngineSequence):
            self.scheduler.arrive(new)
        else:
            self._embedder.arrive(new)

    def _change_adapters(self, message: LoadAdapter | UnloadAdapter) -> None:
        """Load an adapter, or unload one. The gateway waits for the end of what needs it."""
        if isinstance(message, LoadAdapter):
            self._on_adapter(load_adapter(self._adapters, message.file))
            return
        for sequence in self.scheduler.using(message.digest):
            self._fail(sequence, protocol.COMPUTE_FAILED, NOT_THERE)
        self.reporter.add(self._embedder.fail_using(message.digest, NOT_THERE))
        self._adapters.unload(message.digest)

    def _admit(self) -> None:
        for sequence in self.scheduler.admit():
            if not sequence.started:
                sequence.started = True
                self.reporter.started(sequence)
                if sequence.shown is not None:
                    self.reporter.told(sequence, extra=Extra(prompt=sequence.shown))
                    sequence.shown = None
            self._echo(sequence)

    def _echo(self, sequence: EngineSequence) -> bool:
        """Give the prompt back once, when all of that is known; whether it ends with that."""
        echo = sequence.take_echo()
        if echo is not None:
            self.reporter.told(sequence, echo.text, echo.extra)
        over = sequence.max_tokens == 0 and not (sequence.scoring or sequence.reads)
        if over:
            self._finish(sequence, "length")
        return over

    def _finish(self, sequence: EngineSequence, reason: str, last: NewTokens = NO_TOKENS) -> None:
        self.reporter.finished(sequence, reason, last)
        self.scheduler.leave(sequence, sound=True)

    def _fail(
        self, sequence: EngineSequence, code: str, message: str, param: str | None = None
    ) -> None:
        self.reporter.failed(sequence.request, code, message, param)
        self.scheduler.leave(sequence, sound=False)

    # ------------------------------------------------------------------ one step

    def _embed(self, budget: int) -> None:
        """One batch of at most ``budget`` tokens of inputs to embed."""
        tokens, events = self._embedder.step(budget)
        self.reporter.add(events)
        self.reporter.prefilled += tokens
        self.reporter.steps += tokens > 0

    def _step(self) -> int:
        """Returns how many tokens of inputs may be embedded beside what it computed."""
        self._kv.pack()
        chunks, left = self._plan()
        self._stalled = not (
            chunks or self._slice or self._embedder.load or not self._media.awaited
        )
        if chunks:
            left = self._tokens(chunks, left)
        if self._slice is not None:
            self._rows(*self._slice)
        return left

    def _tokens(self, chunks: list[Chunk], left: int) -> int:
        """Compute tokens, and choose those that follow; returns what :meth:`_step` does."""
        started = time.perf_counter()
        status = self._decode(chunks)
        while status == NO_CELLS and self.scheduler.make_room():
            # Nothing was computed. Tried again at once: else what was put back would come back.
            chunks, left = self._plan()
            status = self._decode(chunks)
        if status == OK:
            decodes = sum(sequence.lacks == 1 for sequence, _ in chunks)
            prefill = sum(count for _, count in chunks) - decodes
            reads = sum(n * (s.computed + n / 2) for s, n in chunks if s.lacks > 1)
            drafts, before = len(chunks[0][0].drafts), self.reporter.decoded
            passes = 1 if self._kv.geometry.unified else passes_of(_parts(chunks))
            self._sample(chunks)
            took_ms = (time.perf_counter() - started) * 1000
            usual_ms = None if drafts else self._budget.expected_ms(decodes, prefill, reads, passes)
            self._groups.spent(took_ms, usual_ms)
            if self._groups.changed:
                return left  # of a change the others have nothing to learn
            if not drafts:
                self._budget.learn(decodes, prefill, took_ms, reads, passes)
            if self._drafting is not None and not prefill:
                self._drafting.learn(chunks, drafts, self.reporter.decoded - before, took_ms)
        elif len(chunks) == 1:
            self._fail(chunks[0][0], protocol.COMPUTE_FAILED, f"llama_decode failed with {status}")
        else:
            # One by one, so that only the sequence that fails alone is failed.
            log.warning("llama_decode failed with %d on %d sequences", status, len(chunks))
            self.scheduler.doubt(chunks)
        return left

    def _rows(self, sequence: EngineSequence, count: int) -> None:
        """Compute rows of a medium, after the tokens of the others."""
        if sequence.resident is None:
            return  # its cells were needed
        started, before = time.perf_counter(), sequence.computed
        self._groups.adapt()
        status = self._media.decode(sequence, count)
        if status == NO_CELLS and self.scheduler.make_room():
            return
        if status != OK:
            self._fail(sequence, protocol.COMPUTE_FAILED, f"llama_decode failed with {status}")
            return
        self.reporter.computed(1)
        self.reporter.prefilled += count
        due = self._complete(sequence, count, count - 1)
        self._media.release(sequence)
        took_ms = (time.perf_counter() - started) * 1000
        reads = count * (before + count / 2)
        self._groups.spent(took_ms, self._budget.expected_ms(0, count, reads))
        if not self._groups.changed:
            self._budget.learn(0, count, took_ms, reads)
        if due:
            self.scheduler.clear(sequence)
            self._choose(sequence, count - 1, 0)

    def _plan(self) -> tuple[list[Chunk], int]:
        """The next batch, after making room for it, and tokens to embed beside it."""
        while True:
            able = self._media.able(self.scheduler.next, self._refuse)
            candidates = self._groups.pick(able)
            streams = [s for s in candidates if s.lacks == 1 and s.medium is None]
            prompts = [s for s in candidates if s.lacks > 1 or s.medium is not None]
            if len(prompts) > 1:
                prompts.sort(key=partial(turn, prompt_s=self._budget.prompt_s))
            picture = prompts[0] if prompts and prompts[0].medium is not None else None
            prompts = [s for s in prompts if s.medium is None] if picture is None else [picture]
            share = shares(
                self._budget, streams, prompts, self.scheduler.running, self._embedder.load
            )
            rows = 0 if picture is None else self._media.slice(picture, share.prefill)
            served = [s for s in share.served if s is not picture]
            limits = (self._budget.batch, share.prefill, self._context.rows, share.least)
            counts = plan(served, *limits)
            self._resting = share.resting
            room = self._kv.geometry.total - self._kv.used
            if sum(counts) + rows <= room or not self.scheduler.make_room():
                chunks = [(s, s.until_border(n)) for s, n in zip(served, counts, strict=True) if n]
                self._slice = None if picture is None else (picture, rows)
                if self._drafting is not None:
                    self._drafting.propose(chunks, self._kv, rows)
                return self._ordered(chunks), share.inputs

    def _ordered(self, chunks: list[Chunk]) -> list[Chunk]:
        """The batch's order, on which it depends what llama.cpp computes together."""
        chunks = sorted(chunks, key=_number)
        if not self._context.pass_cells:
            return chunks
        return [chunks[index] for index in order(_parts(chunks), self._context.pass_cells)]

    def _refuse(self, sequence: EngineSequence, refused: InputRefused) -> None:
        """A medium of its prompt has no rows."""
        self._fail(sequence, refused.code, str(refused), refused.param)

    def _decode(self, chunks: list[Chunk]) -> int:
        batch = []
        for sequence, count in chunks:
            assert sequence.resident is not None
            first, end = sequence.computed, sequence.computed + count
            rows, drafts = rows_of(sequence, count), sequence.drafts
            tokens = sequence.tokens[first:end] + drafts
            position = sequence.media.runs.position(first)
            batch.append((sequence.resident.number, position, tokens, rows + len(drafts)))
        self._groups.adapt()
        status = self._context.decode(batch)
        if status == OK:
            self.reporter.computed(len(batch))
        return status

    def _sample(self, chunks: list[Chunk]) -> None:
        """Choose the next token of every sequence whose tokens are now all computed."""
        row = -1
        for sequence, count in chunks:
            row += count
            if not self._complete(sequence, count, row):
                self.reporter.prefilled += count
                continue
            self.scheduler.clear(sequence)
            counted = 1 + sequence.unsampled if sequence.sampled else 0  # when they were chosen
            self.reporter.prefilled += count - counted
            drafted = len(sequence.drafts)
            self._choose(sequence, row, drafted)
            row += drafted

    def _complete(self, sequence: EngineSequence, count: int, row: int) -> bool:
        """Take note of ``count`` tokens that were computed; return whether a token is due.

        ``row`` is the last one of the sequence's tokens in the batch.
        """
        assert sequence.resident is not None
        self._kv.extend(sequence.resident, count)
        if sequence.shift is not None and sequence.computed == sequence.activates:
            self._kv.rescope(sequence.resident, sequence.scope)
        if sequence.computed in sequence.borders:
            self._kv.mark(sequence.resident)
        if sequence.scoring:
            sequence.score(self._context, row)
            if self._echo(sequence):
                return False
        if sequence.computed >= sequence.known:
            return True
        if sequence.request.params.tell_progress and sequence.computed:
            told = min(sequence.computed, sequence.prompt_tokens)
            self.reporter.told(sequence, extra=Extra(progress=told))
        return False

    def _choose(self, sequence: EngineSequence, row: int, drafted: int) -> None:
        """Choose the token after batch row ``row``, and those after the drafts that came true."""
        assert sequence.resident is not None
        if sequence.max_tokens == 0:
            if drafted:
                self._kv.cut(sequence.resident, sequence.computed)
            self._finish(sequence, "length")
            return
        try:
            found = sequence.advance(self._context, row)
        except BiasedAway as error:
            message = f"'logit_bias': {error}"
            self._fail(sequence, protocol.BAD_CONSTRAINT, message, "logit_bias")
            return
        except ConstraintFailed as error:
            self._fail(sequence, protocol.BAD_CONSTRAINT, str(error))
            return
        if drafted:
            self._kv.cut(sequence.resident, sequence.computed + found.kept)
        self.reporter.decoded += len(found.ids)
        if found.reason is None:
            self.reporter.given(sequence, found)
        else:
            self._finish(sequence, found.reason, found)

    def _hurry(self) -> None:
        """Tell before a step what should not wait for its end."""
        self.reporter.hurry(busy=self.busy, prompts=self._computes_prompts)

    def _computes_prompts(self) -> bool:
        running = self.scheduler.running
        return self._embedder.load > 0 or any(sequence.lacks > 1 for sequence in running)

    def _flush(self, step_ms: float) -> None:
        """Tell of the step; when nothing is left to do, look whether the cells agree."""
        self._budget.rested(step_ms if self._resting else 0.0)
        self.reporter.flush(step_ms, busy=self.busy, load=self._load)
        if not self.busy:
            self._kv.check()
            self._embedder.check()

    def _load(self, step_ms: float) -> Load:
        return Load(
            steps=self.reporter.steps,
            prefill_tokens=self.reporter.prefilled,
            decode_tokens=self.reporter.decoded,
            running=len(self.scheduler.running) + len(self.scheduler.waiting) + self._embedder.load,
            parked=len(self.scheduler.parked),
            cells_used=self._kv.used + self._embedder.cells,
            step_ms=step_ms,
            host_bytes=self._kv.host_bytes,
            host_room=self._kv.host_room,
            restored_tokens=self._kv.restored,
            step_sequences=self.reporter.taking_part,
        )


def _parts(chunks: list[Chunk]) -> list[StepPart]:
    """Return a batch as llama.cpp divides it."""
    return [StepPart(_number((s, n)), s.computed + n + len(s.drafts), n) for s, n in chunks]


def _number(chunk: Chunk) -> int:
    """Return where its sequence is in llama.cpp's memory."""
    resident = chunk[0].resident
    assert resident is not None
    return resident.number
