"""Entry of a worker process: load the model, report it, serve until the gateway goes away."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from workers import llama
from workers.chat_format import ChatFormat, detect
from workers.engine.adapter_groups import load_adapter
from workers.engine.drafting import Drafting
from workers.engine.embedder import Embedder
from workers.engine.engine import Engine, Inbox
from workers.engine.media_steps import RowsArrived
from workers.engine.outbox import Outbox
from workers.input_processor import InputProcessor, LateInputProcessor
from workers.kv.kv import KVCache, LedgerMismatch
from workers.kv.prefix_disk import opened
from workers.kv.snapshots import SnapshotStore
from workers.link import Link
from workers.media.encoder import EncoderFailed, MediaEncoder
from workers.media.source import MediaSource
from workers.parent import die_with_parent
from workers.planning.geometry import Geometries
from workers.planning.step_budget import StepBudget
from workers.prompter import Prompter
from workers.protocol import AdapterLoaded, ModelInfo, Ready, StartupFailed, Violated, WorkerSpec
from workers.template.sandbox import SandboxFailed, TemplateSandbox
from workers.template.sources import TemplateFailed
from workers.token_service import TokenService

log = logging.getLogger("forge.worker")

NICENESS = 5
"""The gateway's event loop must be scheduled promptly while every core computes."""
OTHER = "--chat-template or --chat-template-file gives it another"


class Compiled(NamedTuple):
    """A sandbox with its template, and the reason if it can't render chats."""

    sandbox: TemplateSandbox
    broken: str | None


class LoadedModel(NamedTuple):
    """A model in memory, with what requests need of it."""

    model: llama.Model
    template: Compiled
    chat_format: ChatFormat
    geometries: Geometries
    context: llama.Context
    shape: llama.EmbeddingShape
    refused: list[AdapterLoaded]
    """Adapters that can't be loaded."""
    media: MediaSource | None
    """None: the model takes no pictures and no sound."""


def main(sock: socket.socket, spec: WorkerSpec) -> None:
    """Serve on ``sock``, one end of a stream socketpair whose other end the gateway holds."""
    _settle()
    _serve(sock, spec, _prepared)


def wait(sock: socket.socket, spec: WorkerSpec) -> None:
    """Do all that needs no model, and serve when the gateway writes a byte, if it ever does."""
    _settle()
    with contextlib.suppress(SandboxFailed):
        sandbox = _prepared()
        if sock.recv(1):
            _serve(sock, spec, lambda: sandbox)


def _prepared() -> TemplateSandbox:
    """Prepare what needs no model, and return a sandbox that starts. Raises SandboxFailed."""
    llama.initialise()
    return TemplateSandbox()


def _settle() -> None:
    """Become a child that leaves it to the gateway when to end."""
    die_with_parent()
    # Ctrl-C and service managers signal the whole group; it is the gateway that drains, and when
    # it is done it hangs up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)


def _serve(sock: socket.socket, spec: WorkerSpec, prepared: Callable[[], TemplateSandbox]) -> None:
    """Load the model and serve until the gateway hangs up."""
    inbox: Inbox = Inbox()
    link = Link(sock, inbox, media=spec.mmproj is not None)
    threading.excepthook = _die_loudly
    # Before loading, which may take long: the gateway needs heartbeats, or may go away.
    _start("link", partial(link.serve, spec.heartbeat_s))
    try:
        loaded = _load(spec, prepared)
    except (llama.LoadFailed, TemplateFailed, SandboxFailed, EncoderFailed) as error:
        link.send(StartupFailed(str(error)))
        return
    engine = _engine(loaded, spec, link, inbox)
    info = _info(loaded, spec)
    _start_readers(loaded, spec, link, info)
    ready = Ready(os.getpid(), spec.slots, info, [*loaded.model.adapters], loaded.refused)
    link.send(ready)
    try:
        engine.run()
    except LedgerMismatch as violation:
        link.send(Violated(f"worker {os.getpid()}: {violation}"))


def _load(spec: WorkerSpec, prepared: Callable[[], TemplateSandbox]) -> LoadedModel:
    """Load the model. Raises LoadFailed, TemplateFailed, SandboxFailed or EncoderFailed."""
    sandbox = prepared()  # first: it starts while the model is loaded
    encoder = None if spec.mmproj is None else MediaEncoder(spec)  # likewise
    model = llama.Model(spec)
    template = compiled(sandbox, model, spec)
    geometries = llama.geometries(model, spec)
    adapters = [load_adapter(model.adapters, file) for file in spec.adapters]
    context = llama.Context(model, spec, geometries.base)
    return LoadedModel(
        model=model,
        template=template,
        chat_format=detect(model.chat_template),
        geometries=geometries,
        context=context,
        shape=context.embeddings(model, spec),
        refused=[each for each in adapters if each.problem],
        media=None if encoder is None else MediaSource(encoder, spec),
    )


def _info(loaded: LoadedModel, spec: WorkerSpec) -> ModelInfo:
    """Return the facts about the model that the gateway needs."""
    model, geometries, shape = loaded.model, loaded.geometries, loaded.shape
    generates = loaded.context.generates
    name = Path(llama.readable(spec.model_path)).stem
    return msgspec.structs.replace(
        model.info(name, shape.longest if model.ranks else geometries.longest),
        n_ctx=max(shape.longest, shape.batch) if model.ranks else geometries.base.total,
        generates=generates,
        embeds=not model.ranks,
        ranks=model.ranks,
        thinks=generates and loaded.chat_format.thoughts is not None,
        sees=generates and loaded.media is not None and loaded.media.sees,
        hears=generates and loaded.media is not None and loaded.media.hears,
        notes=notes(model, loaded.template.broken) if generates else [],
    )


def _start_readers(loaded: LoadedModel, spec: WorkerSpec, link: Link, info: ModelInfo) -> None:
    """Start the threads that prepare inputs and answer questions, each with a sandbox of its own.

    Long ones have threads of their own, so that short ones need not wait for them.
    """
    model, chat_format, broken = loaded.model, loaded.chat_format, loaded.template.broken

    def another_sandbox() -> TemplateSandbox:
        return compiled(TemplateSandbox(), model, spec).sandbox

    def input_processor(sandbox: TemplateSandbox) -> InputProcessor:
        return InputProcessor(
            model,
            sandbox,
            chat_format,
            info.n_ctx_seq,
            loaded.shape,
            generates=info.generates,
            broken=broken,
            name=spec.name,
            drafts=_drafts(loaded, spec),
            media=loaded.media,
            batch=spec.batch,
        )

    def prompter() -> Prompter:
        return Prompter(model, another_sandbox(), chat_format, broken)

    def late() -> LateInputProcessor:
        return LateInputProcessor(lambda: input_processor(another_sandbox()))

    def token_service() -> TokenService:
        return TokenService(model, prompter, loaded.media, spec.name)

    _start("prepare", partial(link.prepare, input_processor(loaded.template.sandbox)))
    _start("prepare_long", partial(link.prepare, late(), "long"))
    _start("answer", partial(link.answer, token_service()))
    _start("answer_long", partial(link.answer, token_service(), "long"))
    if loaded.media is not None:
        _start("prepare_media", partial(link.prepare, late(), "media"))
        _start("answer_media", partial(link.answer, token_service(), "media"))
        _start("fetch_media", loaded.media.fetch)


def _drafts(loaded: LoadedModel, spec: WorkerSpec) -> bool:
    """Return whether tokens are drafted."""
    return spec.speculative and loaded.model.takes_back and loaded.context.generates


def _engine(loaded: LoadedModel, spec: WorkerSpec, link: Link, inbox: Inbox) -> Engine:
    """Put the engine together from its parts."""
    model, context = loaded.model, loaded.context
    store = SnapshotStore(spec.cache_bytes, opened(spec))
    if loaded.media is not None:
        loaded.media.wake = lambda: inbox.put(RowsArrived())
    return Engine(
        context,
        KVCache(context, loaded.geometries, store, cuts=model.can_cut),
        Embedder(partial(llama.EmbeddingContext, model, spec), loaded.shape, spec.slots),
        inbox,
        link.receive,
        link.send,
        StepBudget(spec.batch, *spec.patience, tiles=spec.flash_attn != "off"),
        Outbox(),
        Drafting(context.rows) if _drafts(loaded, spec) else None,
        link.send,
        loaded.media,
    )


def compiled(sandbox: TemplateSandbox, model: llama.Model, spec: WorkerSpec) -> Compiled:
    """Compile the model's template in ``sandbox``. A broken one of its own costs only its chats.

    Raises TemplateFailed for one that the operator gave, or SandboxFailed.
    """
    tokens = {"bos": model.special_text("bos"), "eos": model.special_text("eos")}
    try:
        sandbox.compile(model.chat_template, **tokens)
        return Compiled(sandbox, None)
    except TemplateFailed as error:
        sandbox.close()
        if spec.chat_template is not None:
            raise
        reason = str(error)
    except SandboxFailed:
        sandbox.close()
        raise
    sandbox = TemplateSandbox()  # for grammars, which are needed all the same
    sandbox.compile(None, **tokens)
    return Compiled(sandbox, reason)


def notes(model: llama.Model, broken: str | None) -> list[str]:
    """Return notes for the operator about a model's template."""
    if broken is not None:
        return [f"chats are refused, since {broken}; {OTHER}"]
    if model.chat_template is None:
        return [f"it brings no chat template, so chats are written as ChatML; {OTHER}"]
    return []


def _start(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


def _die_loudly(failure: threading.ExceptHookArgs) -> None:
    """End a worker that lost a thread, which would be deaf; the supervisor starts another."""
    name = failure.thread.name if failure.thread is not None else "?"
    log.critical("the thread %s failed: %r", name, failure.exc_value, exc_info=failure.exc_value)
    os._exit(1)
