"""Measure once what no rule knows: whether repacked weights and flash attention pay.

That depends on the model, the CPU and llama.cpp: with a 1B Q4_K_M model repacked weights gave
streams 1.1x, and prompts 0.6x. So when a model is first loaded on a machine with --repack auto or
--flash-attn auto, a process loads it in each way, and measures for half a second what the parts of
a request cost. The result is remembered in a file beside those of ``forge tune``.

What attention costs shows after many tokens only: on two cores of one machine flash attention was
equal for four streams of SmolLM2 after 480 tokens; but after 2,500 a step of five streams took
228 ms with it and 160 without, and on another machine 38 ms with it and 95 without after 1,400. So
all is measured after 2,048 tokens, most of which are copies of a few, for that makes no difference.

An example: repacked, a prompt of 256 tokens takes 1.05 s, and 64 tokens of one of 4 streams take
1.1 s of the worker's time; mapped, they take 0.61 and 1.25. So a request costs 2.15 s or 1.86: the
weights stay mapped.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.config import tuning_profile
from gateway.config.config import Config
from gateway.config.tuning_profile import Fingerprint, Tuned
from gateway.model_files import gguf, memory_check, memory_estimate, shape
from gateway.system.host import this_machine
from workers.protocol import (
    FromMeasurer,
    Loaded,
    Measure,
    Measured,
    MeasureFailed,
    WorkerSpec,
    children,
)

log = logging.getLogger("forge.models")

PROMPT, ANSWER, STREAMS = 256, 64, 4
"""The request whose cost is compared: tokens of its prompt, of its answer, and answers at once."""
DEPTH = 2048
"""Tokens before those that are measured, of agents and long chats."""
PART_S = 0.25
"""About so long each part is measured."""
WORTH = {"repack": 1.02, "flash_attn": 1.1}
"""Factors by which another way must be faster: copied weights take memory, and so do the scores of
attention that is not flash attention."""
PATIENCE_S = 600.0
"""A process that takes longer to load the model hangs."""

_decoder = msgspec.json.Decoder(FromMeasurer)


class Kernels(NamedTuple):
    """One way to compute a model."""

    repack: bool
    flash_attn: str

    def options(self) -> dict[str, Any]:
        """Under the names of :class:`Config`'s fields."""
        return {"repack": "on" if self.repack else "off", "flash_attn": self.flash_attn}

    def __str__(self) -> str:
        weights = "repacked" if self.repack else "mapped"
        return f"{weights} weights, flash attention {self.flash_attn}"


class Unmeasured(Exception):
    """A way that could not be measured; one line that says why."""


def undecided(config: Config) -> frozenset[str]:
    """Return the options that are to be measured: none of small models, or of a GPU's."""
    if config.small() or config.n_gpu_layers != 0 or config.tuned == "off":
        return frozenset()
    found = {"repack"} if config.repack == "auto" else set[str]()
    if config.flash_attn == "auto" and {config.cache_type_k, config.cache_type_v} == {"f16"}:
        found.add("flash_attn")
    return frozenset(found)


def repackable(model: Path) -> bool:
    """Return whether llama.cpp copies any weights of the model for this CPU."""
    try:
        found = gguf.read(model)
    except (gguf.Unreadable, OSError):
        return False
    return memory_estimate.repacked(found, found.tensors, memory_check.processor()) > 0


class FirstLook:
    """Measures models one after the other, and none while others answer."""

    def __init__(self, environment: Mapping[str, str], busy: Callable[[], bool]) -> None:
        """``busy``: tells if any model is at work, whose cores a measurement would share."""
        self._environment = environment
        self._busy = busy
        self._one = asyncio.Lock()

    async def __call__(self, config: Config, spec: WorkerSpec) -> WorkerSpec:
        """Return ``spec`` with what is faster here, as far as ``config`` leaves it open.

        Never fails: what can't be measured now stays as it is, and is tried again next time.
        """
        open_ = undecided(config)
        if not open_:
            return spec
        try:
            mark = await asyncio.to_thread(tuning_profile.fingerprint, config.model)
            path = tuning_profile.path_for(config.model, mark, self._environment)
        except (OSError, RuntimeError):
            return spec
        path = path.with_suffix(".auto.toml")
        async with self._one:
            options = await _remembered(path, mark, config)
            if not open_ <= options.keys():
                options = await self._measured(path, mark, config, spec, open_)
        return _with(spec, {name: options[name] for name in open_ & options.keys()})

    async def _measured(
        self, path: Path, mark: Fingerprint, config: Config, spec: WorkerSpec, open_: frozenset[str]
    ) -> Mapping[str, Any]:
        """Measure, and remember; return the options found, nothing if there is none."""
        if self._busy() or await asyncio.to_thread(encodes, config.model):
            return {}
        name = config.model_name
        log.info("model '%s': measuring once how it is fastest on this machine", name)
        try:
            chosen = await _measure(config, spec, open_)
        except Unmeasured as reason:
            log.warning("model '%s': not measured how it is fastest: %s", name, reason)
            return {}
        options = {key: value for key, value in chosen.options().items() if key in open_}
        if self._busy():
            return options
        machine = await asyncio.to_thread(this_machine)
        tuned = Tuned(mark, machine, config.n_gpu_layers, options)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        remember = partial(tuning_profile.write, by="forge serve")
        try:
            await asyncio.to_thread(remember, path, tuned, config.model.absolute(), now, {})
        except OSError as error:
            log.warning("can't remember in %s what was measured: %s", path, error.strerror)
        return options


async def _remembered(path: Path, mark: Fingerprint, config: Config) -> Mapping[str, Any]:
    """Return the options measured of this model on this machine; nothing if none are known."""
    machine = await asyncio.to_thread(this_machine)
    with contextlib.suppress(FileNotFoundError, tuning_profile.Unusable):
        known = await asyncio.to_thread(tuning_profile.read, path)
        if known.model == mark and known.differs(machine, config) is None:
            return known.options
    return {}


def _with(spec: WorkerSpec, options: Mapping[str, Any]) -> WorkerSpec:
    repack = options["repack"] != "off" if "repack" in options else spec.repack
    flash_attn = options.get("flash_attn", spec.flash_attn)
    return msgspec.structs.replace(spec, repack=repack, flash_attn=flash_attn)


def encodes(model: Path) -> bool:
    """Return whether the model only embeds or ranks, of which no speed is measured."""
    try:
        found = shape.shape(gguf.read(model))
        return found.encoder or found.ranks
    except (gguf.Unreadable, OSError):
        return False


async def _measure(config: Config, spec: WorkerSpec, open_: frozenset[str]) -> Kernels:
    """The fastest way. Raises :class:`Unmeasured` if not even the usual one can be measured."""
    costs = dict[Kernels, float]()
    way = Kernels(spec.repack, spec.flash_attn)
    if "repack" in open_ and await asyncio.to_thread(repackable, config.model):
        way = await _better(spec, way._replace(repack=False), way, WORTH["repack"], costs)
    if "flash_attn" in open_:
        without = way._replace(flash_attn="off")
        way = await _better(spec, way, without, WORTH["flash_attn"], costs)
    shown = "; ".join(f"{each}: {cost:.2f} s" for each, cost in costs.items())
    log.info("model '%s': %s (%s)", config.model_name, way, shown or "nothing to measure")
    return way


async def _better(
    spec: WorkerSpec, usual: Kernels, other: Kernels, worth: float, costs: dict[Kernels, float]
) -> Kernels:
    """The usual way, unless the other one is worth it twice: machines are noisy.

    Raises :class:`Unmeasured` if the usual one can't be measured.
    """
    if usual not in costs:
        costs[usual] = await _cost(spec, usual)
    try:
        costs[other] = await _cost(spec, other)
        if costs[other] * worth >= costs[usual]:
            return usual
        costs[usual] = min(costs[usual], await _cost(spec, usual))
        costs[other] = max(costs[other], await _cost(spec, other))
    except Unmeasured:
        return usual
    return other if costs[other] * worth < costs[usual] else usual


def request_s(decode: float, prefill: float) -> float:
    """Seconds that a request costs at so many tokens a second, of all streams and of a prompt."""
    return PROMPT / prefill + ANSWER / decode


async def _cost(spec: WorkerSpec, way: Kernels) -> float:
    """Seconds of a request. Raises :class:`Unmeasured`."""
    cells = STREAMS * DEPTH * 5 // 4
    spec = msgspec.structs.replace(
        spec,
        repack=way.repack,
        flash_attn=way.flash_attn,
        slots=STREAMS,
        n_ctx=min(cells, spec.n_ctx or cells),
    )
    try:
        async with asyncio.timeout(PATIENCE_S), _measurer(spec) as ask:
            decode = await ask(Measure("decode", [STREAMS], PART_S, DEPTH))
            prefill = await ask(Measure("prefill", [min(PROMPT, spec.batch)], PART_S, DEPTH))
    except (OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
        # Also what a process says that is no answer, for instance at its very start.
        raise Unmeasured(str(error) or "it took too long") from error
    return request_s(decode, prefill)


@contextlib.asynccontextmanager
async def _measurer(spec: WorkerSpec) -> AsyncIterator[Any]:
    """A process with the model loaded; what it gives asks for one rate. Ends with the context."""
    process = await asyncio.create_subprocess_exec(
        *children.command("workers.tools.measure"),
        env=children.environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    write, read = process.stdin, process.stdout

    async def answer(message: msgspec.Struct) -> Loaded | Measured:
        write.write(msgspec.json.encode(message) + b"\n")
        line = await read.readline()
        found: Loaded | Measured | MeasureFailed = (
            _decoder.decode(line) if line else MeasureFailed("the process ended")
        )
        if isinstance(found, MeasureFailed):
            raise Unmeasured(found.message)
        return found

    async def ask(wanted: Measure) -> float:
        found = await answer(wanted)
        rates = found.rates if isinstance(found, Measured) else []
        if not rates:
            raise Unmeasured(f"no rate of {wanted.what}")
        return rates[0].tokens_per_s

    try:
        await answer(spec)
        yield ask
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
