"""An engine driven step by step in the test process, on real llama.cpp.

What ``workers.__main__`` wires to a socket is wired to lists here. After every step the ledger of
cells is checked, so each test of a result is also a test for leaks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark

from workers import llama
from workers.chat_format import detect
from workers.engine.drafting import Drafting
from workers.engine.embedder import Embedder
from workers.engine.engine import ROWS_S, Engine, Inbox
from workers.engine.media_steps import RowsArrived
from workers.engine.outbox import Outbox
from workers.input_processor import InputProcessor
from workers.kv.kv import KVCache
from workers.kv.snapshots import SnapshotStore
from workers.llama import Context, EmbeddingContext, Model
from workers.media.source import MediaSource
from workers.planning.geometry import Unified
from workers.planning.step_budget import Backlog, StepBudget
from workers.protocol import (
    AdapterLoaded,
    AdapterSet,
    Cancel,
    Delta,
    Embedding,
    Failed,
    Finished,
    Generate,
    GenerationParams,
    Logprob,
    Park,
    Prompt,
    Ranking,
    Sampling,
    Started,
    Step,
    Text,
    TextPair,
    Tokens,
    WorkerSpec,
)
from workers.template.chat_template import ChatTemplate
from workers.template.sandbox import GrammarFailed
from workers.template.sources import FALLBACK

GREEDY = Sampling(seed=0, temperature=0.0)
MAX_STEPS = 5000


def spec(
    path: Path,
    *,
    n_ctx: int | None = 512,
    batch: int = 128,
    type_k: str = "f16",
    type_v: str = "f16",
    flash_attn: str = "auto",
) -> WorkerSpec:
    """One thread: the tests share the machine."""
    return WorkerSpec(
        model_path=str(path),
        slots=8,
        threads=1,
        n_ctx=n_ctx,
        batch=batch,
        type_k=type_k,
        type_v=type_v,
        flash_attn=flash_attn,
        repack=False,
        n_gpu_layers=0,
        log_level="warning",
        heartbeat_s=1.0,
    )


def exact_spec(path: Path, *, n_ctx: int, batch: int) -> WorkerSpec:
    """For an F32 copy: results that do not depend on what else is in the batch."""
    return spec(path, n_ctx=n_ctx, batch=batch, type_k="f32", type_v="f32", flash_attn="off")


def generate(
    id_: int,
    prompt: str | Prompt,
    *,
    sampling: Sampling = GREEDY,
    max_tokens: int | None = 24,
    stop: tuple[str, ...] = (),
    ignore_eos: bool = True,
    resume: tuple[int, ...] = (),
    attempt: int = 1,
    priority: float = 1.0,
    rank: float = 0.0,
    cache_prompt: bool = True,
    logprobs: int | None = None,
    echo: bool = False,
    adapters: AdapterSet = (),
) -> Generate:
    """A request; by default greedy, and of a length that does not depend on the model."""
    return Generate(
        id=id_,
        attempt=attempt,
        prompt=Text(prompt) if isinstance(prompt, str) else prompt,
        params=GenerationParams(
            sampling=sampling,
            max_tokens=max_tokens,
            stop=stop,
            ignore_eos=ignore_eos,
            logprobs=logprobs,
            echo=echo,
            cache_prompt=cache_prompt,
            adapters=adapters,
        ),
        now=0.0,
        resume=list(resume),
        priority=priority,
        rank=rank,
    )


def with_params(request: Generate, **changes: Any) -> Generate:
    """``request`` with other params."""
    params = msgspec.structs.replace(request.params, **changes)
    return msgspec.structs.replace(request, params=params)


def embed(
    id_: int,
    prompt: str | list[int],
    *,
    dimensions: int | None = None,
    priority: float = 1.0,
    cut: bool = False,
) -> Generate:
    """A request for a vector."""
    wanted = Text(prompt) if isinstance(prompt, str) else Tokens(prompt)
    embedding = Embedding(dimensions, cut)
    return with_params(generate(id_, wanted, priority=priority), embedding=embedding)


def rank(id_: int, query: str, document: str, *, priority: float = 1.0, **wish: Any) -> Generate:
    """A request for a score; ``wish``: as in :class:`workers.protocol.Ranking`."""
    pair = TextPair(query, document, "query", f"documents.{id_}")
    return with_params(generate(id_, pair, priority=priority), ranking=Ranking(**wish))


@dataclass
class Outcome:
    """One generation as the gateway would have heard of it."""

    started: Started | None = None
    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    echo: Delta | None = None
    prompt: str | None = None
    progress: list[int] = field(default_factory=list)
    reason: str | None = None
    failure: Failed | None = None
    parked: int = 0
    drafted: int = 0
    accepted: int = 0
    deltas: int = 0
    vector: bytes = b""
    score: float | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def ended(self) -> bool:
        return self.reason is not None or self.failure is not None


class DirectSandbox(ChatTemplate):
    """Templates and grammars without a process around them."""

    def to_lark(self, source: str) -> str:
        try:
            lark: str = any_to_lark(source)
        except GbnfToLarkError as error:
            raise GrammarFailed(str(error)) from error
        return lark


class AllAtOnce(StepBudget):
    """As many tokens as a step can hold, whatever steps took: the same chunks in every run."""

    def prefill(self, decodes: int, backlog: Backlog, *_: object, **__: object) -> int:
        return max(1, self.batch - decodes)

    def least_part(self, decodes: int) -> int:
        return 1


class Driver:
    """The engine, its inbox, and everything it said."""

    def __init__(
        self,
        model: Model,
        context: Context,
        spec: WorkerSpec,
        budget: StepBudget | None = None,
        drafting: Drafting | None = None,
        patience_ms: float = 0.0,
        media: MediaSource | None = None,
    ) -> None:
        self.context = context
        self.store = SnapshotStore(spec.cache_bytes)
        geometries = llama.geometries(model, spec)
        self.kv = KVCache(context, geometries, self.store, cuts=model.can_cut)
        self.inbox: Inbox = Inbox()
        self.sent: list[Step] = []
        self.loaded: dict[str, str] = {}
        """Answers about adapters that were to be loaded."""
        self.outcomes: dict[int, Outcome] = {}
        self.shape = context.embeddings(model, spec)
        self.embedder = Embedder(partial(EmbeddingContext, model, spec), self.shape, spec.slots)
        self.engine = Engine(
            context,
            self.kv,
            self.embedder,
            self.inbox,
            self._receive,
            self._on_step,
            budget or AllAtOnce(spec.batch),
            Outbox(patience_ms),
            drafting,
            self._on_adapter,
            media,
        )
        if media is not None:
            media.wake = lambda: self.inbox.put(RowsArrived())
        template = DirectSandbox(
            model.chat_template or FALLBACK,
            bos=model.special_text("bos"),
            eos=model.special_text("eos"),
        )
        limit = model.info("m", geometries.longest).n_ctx_seq
        chat_format, generates = detect(model.chat_template), context.generates
        self.input_processor = InputProcessor(
            model,
            template,
            chat_format,
            limit,
            self.shape,
            generates=generates,
            drafts=drafting is not None,
            media=media,
            batch=spec.batch,
        )

    def close(self) -> None:
        """Free what was made on the way."""
        if isinstance(self.embedder._context, EmbeddingContext):
            self.embedder._context.close()

    def _receive(self) -> None:
        """Nothing lies in a socket: the test fills the inbox."""

    def _on_adapter(self, loaded: AdapterLoaded) -> None:
        self.loaded[loaded.digest] = loaded.problem

    def _on_step(self, step: Step) -> None:
        self.sent.append(step)
        for event in step.events:
            outcome = self.outcomes[event.id]
            assert not outcome.ended, "an event after the end"
            if isinstance(event, Started):
                assert outcome.started is None or outcome.parked, "started twice"
                outcome.started = event
            elif isinstance(event, Delta) and event.extra is not None and event.extra.echo:
                assert outcome.echo is None, "echo told twice"
                assert outcome.started is not None
                assert outcome.ids == event.ids == []
                outcome.echo = event
            elif isinstance(event, Delta) and event.extra is not None and event.extra.prompt:
                assert (outcome.prompt, outcome.ids, event.ids) == (None, [], [])
                outcome.prompt = event.extra.prompt
            elif isinstance(event, Delta) and event.extra is not None and event.extra.progress:
                assert outcome.ids == event.ids == []
                outcome.progress.append(event.extra.progress)
            elif isinstance(event, Delta | Finished):
                assert outcome.started is not None or event.ids == []
                outcome.ids += event.ids
                outcome.deltas += 1
                if event.drafts is not None:
                    assert 0 <= event.drafts.accepted <= event.drafts.drafted
                    outcome.drafted += event.drafts.drafted
                    outcome.accepted += event.drafts.accepted
                outcome.texts.append(event.text)
                outcome.logprobs += event.extra.logprobs if event.extra is not None else []
                outcome.reason = event.reason if isinstance(event, Finished) else None
                outcome.vector = event.extra.vector if event.extra is not None else b""
                outcome.score = event.extra.score if event.extra is not None else None
            elif isinstance(event, Failed):
                outcome.failure = event
            else:
                outcome.parked += 1

    def submit(self, *requests: Generate) -> list[Outcome]:
        """Raises Refused, as in the link's thread."""
        for request in requests:
            self.outcomes[request.id] = Outcome()
            self.inbox.put(self.input_processor.prepare(request))
        return [self.outcomes[request.id] for request in requests]

    def cancel(self, id_: int) -> None:
        self.inbox.put(Cancel(id_))

    def park(self, id_: int) -> None:
        self.inbox.put(Park(id_))

    def unpark(self, request: Generate) -> None:
        """The same generation again, as the gateway sends it: with the tokens it has."""
        outcome = self.outcomes[request.id]
        resumed = msgspec.structs.replace(
            request, attempt=request.attempt + 1, resume=list(outcome.ids)
        )
        if outcome.echo is not None:
            resumed = with_params(resumed, echo=False)
        self.inbox.put(self.input_processor.prepare(resumed))

    @property
    def busy(self) -> bool:
        return self.engine.busy or not self.inbox.empty()

    def step(self, count: int = 1) -> None:
        """Do what ``Engine.run`` does in one round."""
        for _ in range(count):
            self.engine._drain(block=self.engine._stalled, wait_s=ROWS_S)
            self.engine._admit()
            self.engine._hurry()
            self.engine._embed(self.engine._step())
            self.engine._flush(0.0)
            self.kv.check()
            self.embedder.check()

    def run(self, *requests: Generate) -> list[Outcome]:
        """Submit and go on until nothing is left to do."""
        outcomes = self.submit(*requests)
        for _ in range(MAX_STEPS):
            if not self.busy:
                assert all(outcome.ended for outcome in self.outcomes.values())
                assert self.kv.used == 0, "cells of a generation that ended"
                assert self.embedder.cells == 0, "cells of an input that has its vector"
                return outcomes
            self.step()
        raise AssertionError(f"not done after {MAX_STEPS} steps")

    def run_beside(self, *requests: Generate) -> list[Outcome]:
        """Submit and go on until these end; others may stay parked."""
        outcomes = self.submit(*requests)
        for _ in range(MAX_STEPS):
            if all(outcome.ended for outcome in outcomes):
                return outcomes
            self.step()
        raise AssertionError(f"not done after {MAX_STEPS} steps")

    def alone(self, request: Generate) -> Outcome:
        """The outcome without neighbours and without a cache."""
        assert not self.busy
        self.empty()
        (outcome,) = self.run(request)
        self.empty()
        return outcome

    def empty(self) -> None:
        """Nothing is cached any more, nowhere."""
        for snapshot in list(self.store):
            self.store.remove(snapshot)


@contextmanager
def driver(
    model: Model,
    path: Path,
    *,
    n_ctx: int = 512,
    batch: int = 128,
    exact: bool = False,
    budget: StepBudget | None = None,
    cache_bytes: int = 64 << 20,
    unified: Unified = "auto",
    drafting: Drafting | None = None,
    patience_ms: float = 0.0,
    media: MediaSource | None = None,
) -> Iterator[Driver]:
    """A fresh context on a loaded model; each step has a frame of its own, unless they share."""
    wanted = (exact_spec if exact else spec)(path, n_ctx=n_ctx, batch=batch)
    wanted = msgspec.structs.replace(wanted, cache_bytes=cache_bytes, kv_unified=unified)
    context = Context(model, wanted, llama.geometries(model, wanted).base)
    made = Driver(model, context, wanted, budget, drafting, patience_ms, media)
    try:
        yield made
    finally:
        made.close()
        context.close()


@contextmanager
def loaded(path: Path) -> Iterator[Model]:
    llama.initialise()
    model = Model(spec(path))
    try:
        yield model
    finally:
        model.close()
