"""The systems that are compared: each is started, asked and stopped in the same way."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.processes import Process, with_variable
from bench.server import environment_of, running_from

from .client import Asker, Client
from .direct import engine
from .settings import Settings

START_S, STOP_S = 300, 30


@dataclass(frozen=True, slots=True)
class Up:
    """A system that is ready."""

    asker: Asker
    family: Callable[[], list[Process]]
    """Its processes; none if it is somebody else's."""


@dataclass(frozen=True, slots=True)
class System:
    """A name for the report, and how to have it for the length of a block."""

    name: str
    up: Callable[[Settings], contextlib.AbstractAsyncContextManager[Up]]
    is_forge: bool = False
    is_peer: bool = True
    """True if all workloads make sense; the bare engine is there for the closed loops alone."""
    drafts: bool = True
    """True if it may draft where the workload lets it; one that may not runs in those alone."""


def forge(
    name: str,
    options: Sequence[str],
    *,
    workers: int | None = None,
    tree: Path | None = None,
) -> System:
    """`forge serve`, with a worker for each thread unless said otherwise.

    Slots, cells and threads are those of all workers together.
    """

    @contextlib.asynccontextmanager
    async def up(settings: Settings) -> AsyncIterator[Up]:
        number = workers or min(settings.threads, settings.slots)
        given = (
            "--model", str(settings.model), "--alias", "bench", "--workers", str(number),
            "--slots", str(settings.slots // number), "--ctx", str(settings.ctx // number),
            "--threads", str(settings.threads // number), "--batch", str(settings.batch),
        )  # fmt: skip
        with running_from(tree, *given, *options) as server:
            server.wait_ready()
            yield Up(Client(server.url, "bench"), server.family)

    return System(name, up, is_forge=True)


def forge_itself(
    name: str, options: Sequence[str] = (), *, tree: Path | None = None, drafts: bool = True
) -> System:
    """`forge serve` in the shape and with the kernels that it chooses by itself, as for a newcomer.

    Its workers share slots and cells.

    ``tree``: another checkout of Forge.
    """

    @contextlib.asynccontextmanager
    async def up(settings: Settings) -> AsyncIterator[Up]:
        number = workers_of(settings.model, options, tree)
        cells = settings.ctx // min(number, settings.slots)  # a worker more than clients is spare
        given = (
            "--model", str(settings.model), "--alias", "bench",
            "--slots", str(-(-settings.slots // number)), "--ctx", str(cells),
            *drafting(settings.drafts and drafts, tree),
        )  # fmt: skip
        with running_from(tree, *given, *options, measures=True) as server:
            server.wait_ready()
            yield Up(Client(server.url, "bench"), server.family)

    return System(name, up, is_forge=True, drafts=drafts)


def workers_of(model: Path, options: Sequence[str], tree: Path | None) -> int:
    """Return the number of workers that a Forge with these options has for a model."""
    if "--workers" in options:
        return int(options[options.index("--workers") + 1])
    path = str(model.absolute())
    return int(_asked(tree, f"print(Config(model={path!r}).shape().workers)"))


def drafting(on: bool, tree: Path | None) -> list[str]:
    """The option that says so, if that Forge has it."""
    if not drafts_exist(tree):
        return []
    return ["--speculative", "auto" if on else "off"]


def drafts_exist(tree: Path | None = None) -> bool:
    """True if that Forge can draft at all."""
    return _asked(tree, "print('speculative' in Config.model_fields)") == "True"


@functools.cache
def _asked(tree: Path | None, what: str) -> str:
    """Return what a checkout of Forge says about its configuration, from a process of its own."""
    program = f"from gateway.config.config import Config; {what}"
    command = [sys.executable, "-c", program]
    told = subprocess.run(
        command, cwd=tree, env=environment_of(tree), text=True, check=True, stdout=subprocess.PIPE
    )
    return told.stdout.strip()


def bare_engine(name: str, *, repack: bool) -> System:
    """A worker without HTTP, queue and dispatcher."""

    @contextlib.asynccontextmanager
    async def up(settings: Settings) -> AsyncIterator[Up]:
        async with engine(
            settings.model, slots=settings.slots, ctx=settings.ctx, threads=settings.threads,
            batch=settings.batch, repack=repack,
        ) as (asker, family):  # fmt: skip
            yield Up(asker, family)

    return System(name, up, is_peer=False)


def llama_server(
    name: str, binary: Path, options: Sequence[str], *, alike: bool, plain: bool = True
) -> System:
    """llama.cpp's own server, with as many slots and cells in all.

    As it is by default: each slot has its part of the cells, and prompts are taken in by 2,048
    tokens. ``alike``: one cache for all and Forge's batch, so that a long prompt finds room.
    ``plain``: without whole prompts in RAM, which cost it time, and memory that is not comparable.
    """
    kept = ("--cache-ram", "0") if plain else ()

    def command(settings: Settings, port: int) -> list[str]:
        batch = str(settings.batch)
        same = ("--kv-unified", "--batch-size", batch, "--ubatch-size", batch) if alike else ()
        return [
            str(binary), "--model", str(settings.model), "--host", "127.0.0.1",
            "--port", str(port), "--parallel", str(settings.slots), *same,
            "--ctx-size", str(settings.ctx), "--threads", str(settings.threads),
            *kept, "--cache-type-k", "f16", "--cache-type-v", "f16", *options,
        ]  # fmt: skip

    return _process(name, command, "/health")


def python_server(name: str) -> System:
    """llama-cpp-python's server: one request at a time."""

    def command(settings: Settings, port: int) -> list[str]:
        return [
            sys.executable, "-m", "llama_cpp.server", "--model", str(settings.model),
            "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "4096",
            "--n_threads", str(settings.threads), "--n_threads_batch", str(settings.threads),
            "--n_batch", str(settings.batch), "--interrupt_requests", "False",
        ]  # fmt: skip

    return _process(name, command, "/v1/models")


def elsewhere(name: str, url: str) -> System:
    """Any OpenAI server that runs already; its cost can't be seen."""

    @contextlib.asynccontextmanager
    async def up(settings: Settings) -> AsyncIterator[Up]:
        base = url.rstrip("/").removesuffix("/v1")
        async with httpx.AsyncClient(timeout=STOP_S) as client:
            models = await client.get(f"{base}/v1/models")
        yield Up(Client(url, models.json()["data"][0]["id"]), list)

    return System(name, up)


def named(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` of the command line. Raises ValueError."""
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise ValueError(f"expected NAME=VALUE, not {text!r}")
    return name, value


def beside(text: str) -> tuple[str, Path | None, list[str]]:
    """``LABEL: [@TREE] OPTIONS``, as a shell would split them: label, checkout, options.

    Raises ValueError.
    """
    name, found, rest = text.partition(":")
    options = shlex.split(rest)
    if not (name.strip() and found and options):
        raise ValueError(f"expected LABEL: OPTIONS, not {text!r}")
    if not options[0].startswith("@"):
        return name.strip(), None, options
    tree = Path(options[0][1:])
    if not (tree / "gateway").is_dir():
        raise ValueError(f"{tree} is no checkout of Forge")
    return name.strip(), tree, options[1:]


def _process(name: str, command: Callable[[Settings, int], list[str]], health: str) -> System:
    @contextlib.asynccontextmanager
    async def up(settings: Settings) -> AsyncIterator[Up]:
        port = free_port()
        with _started(command(settings, port), f"http://127.0.0.1:{port}{health}") as mark:
            url = f"http://127.0.0.1:{port}"
            yield Up(Client(url, "bench"), lambda: with_variable(mark))

    return System(name, up)


@contextlib.contextmanager
def _started(command: list[str], health: str) -> Iterator[str]:
    """Run it, wait until it is healthy, end it; the value marks its processes' environment.

    Raises RuntimeError with the end of its log.
    """
    mark = f"BENCH_FAMILY={secrets.token_hex(8)}"
    environment = {**os.environ, "BENCH_FAMILY": mark.partition("=")[2]}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:  # fmt: skip
        try:
            end = time.monotonic() + START_S
            while not _healthy(health):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{shlex.join(command)} does not get ready")
                time.sleep(0.1)
            yield mark
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
