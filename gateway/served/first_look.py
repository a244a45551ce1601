"""Measure once what no rule knows: whether repacked weights and flash attention pay.

That depends on the model, the CPU and llama.cpp: with a 1B Q4_K_M model repacked weights gave
streams 1.1x, and prompts 0.6x. So when a model is first loaded on a machine with --repack auto or
--flash-attn auto, a process for each way loads it, and they measure in turns, for half a second,
what the parts of a request cost. The result is remembered beside those of ``forge tune``.

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
import statistics
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.config import tuning_profile
from gateway.config.config import Config, NotNow
from gateway.config.tuning_profile import Fingerprint, Tuned
from gateway.model_files import gguf, memory_check, shape
from gateway.model_files.memory_probe import NotPlanned, remembering
from gateway.served.measurer import Ask, Unmeasured, measurer
from gateway.system.host import this_machine
from workers.protocol import Measure, WorkerSpec

log = logging.getLogger("forge.models")

PROMPT, ANSWER, STREAMS = 256, 64, 4
"""The request whose cost is compared: tokens of its prompt, of its answer, and answers at once."""
CHUNK = 128
"""Tokens of the prompt that are measured, in one step."""
DEPTH = 2048
"""Tokens before those that are measured, of agents and long chats."""
PART_S = 0.25
"""About so long each part is measured."""
WORTH = {"repack": 1.02, "flash_attn": 1.03}
"""Factors by which another way must be faster: copied weights take memory, and so do the scores of
attention that is not flash attention."""
MAJORITY = 2
"""Turns that decide."""


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


def undecided(config: Config) -> frozenset[str]:
    """Return the options that are to be measured: none of small models, or of a GPU's."""
    if config.small() or config.n_gpu_layers != 0 or config.tuned == "off":
        return frozenset()
    found = {"repack"} if config.repack == "auto" else set[str]()
    if config.flash_attn == "auto" and {config.cache_type_k, config.cache_type_v} == {"f16"}:
        found.add("flash_attn")
    return frozenset(found)


def repackable(config: Config) -> bool:
    """Return whether llama.cpp copies any weights of the model for this CPU."""
    with remembering() as probe:
        try:
            wanted = memory_check.wanted_by(config, gguf.read(config.model), probe)
            return wanted.need().worker.repacked > 0
        except (gguf.Unreadable, OSError, NotPlanned):
            return False


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
            missing = open_ - options.keys()
            if missing and not self._busy():
                if "flash_attn" in missing and not await asyncio.to_thread(roomy, config):
                    missing -= {"flash_attn"}
                found = await self._measured(path, mark, config, spec, missing, options)
                options = {**options, **found}
        return _with(spec, {name: options[name] for name in open_ & options.keys()})

    async def _measured(
        self,
        path: Path,
        mark: Fingerprint,
        config: Config,
        spec: WorkerSpec,
        open_: frozenset[str],
        known: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Measure, and remember with what is ``known``; return the options found, if any."""
        if not open_ or await asyncio.to_thread(encodes, config.model):
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
        tuned = Tuned(mark, machine, config.n_gpu_layers, {**known, **options})
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


def roomy(config: Config) -> bool:
    """Return whether there is room for scores, which flash attention does not need.

    With all cells in common, for one long sequence, there are many.
    """
    without = config.model_copy(update={"flash_attn": "off", "kv_unified": "on"})
    try:
        return memory_check.check(without) is None
    except NotNow:
        return False


def encodes(model: Path) -> bool:
    """Return whether the model only embeds or ranks, of which no speed is measured."""
    try:
        found = shape.shape(gguf.read(model))
        return found.encoder or found.ranks
    except (gguf.Unreadable, OSError):
        return False


async def _measure(config: Config, spec: WorkerSpec, open_: frozenset[str]) -> Kernels:
    """The fastest way. Raises :class:`Unmeasured` if not even the usual one can be measured."""
    way, told = Kernels(spec.repack, spec.flash_attn), list[str]()
    if "flash_attn" in open_:
        # Of mapped weights: there may be no room for two copies of them.
        usual = way._replace(repack=False)
        without = usual._replace(flash_attn="off")
        found = await _better(spec, usual, without, WORTH["flash_attn"], told)
        way = way._replace(flash_attn=found.flash_attn)
    if "repack" in open_ and await asyncio.to_thread(repackable, config):
        mapped, copied = way._replace(repack=False), way._replace(repack=True)
        way = await _better(spec, mapped, copied, WORTH["repack"], told)
    log.info("model '%s': %s (%s)", config.model_name, way, "; ".join(told) or "nothing to measure")
    return way


async def _better(
    spec: WorkerSpec, usual: Kernels, other: Kernels, worth: float, told: list[str]
) -> Kernels:
    """The usual way, unless the other one is worth it more often than not.

    They are measured in turns: machines, and their hosts, have slow moments. Raises
    :class:`Unmeasured` if the usual one can't be measured.
    """
    async with measurer(_of(spec, usual)) as one:
        pairs = list[tuple[float, float]]()
        try:
            async with measurer(_of(spec, other)) as two:
                won = lost = 0
                while max(won, lost) < MAJORITY:
                    pairs.append((await _cost(spec, one), await _cost(spec, two)))
                    won = sum(a > worth * b for a, b in pairs)
                    lost = len(pairs) - won
        except Unmeasured:
            return usual
    costs = [f"{statistics.median(each):.2f} s" for each in zip(*pairs, strict=True)]
    told.append(f"{usual}: {costs[0]}; {other}: {costs[1]}")
    return other if won == MAJORITY else usual


def request_s(decode: float, prefill: float) -> float:
    """Seconds that a request costs at so many tokens a second, of all streams and of a prompt."""
    return PROMPT / prefill + ANSWER / decode


def _of(spec: WorkerSpec, way: Kernels) -> WorkerSpec:
    """The worker that is measured."""
    cells = STREAMS * DEPTH * 5 // 4
    return msgspec.structs.replace(
        spec,
        repack=way.repack,
        flash_attn=way.flash_attn,
        slots=STREAMS,
        n_ctx=min(cells, spec.n_ctx or cells),
    )


async def _cost(spec: WorkerSpec, ask: Ask) -> float:
    """Seconds of a request. Raises :class:`Unmeasured`."""
    decode = await ask(Measure("decode", [STREAMS], PART_S, DEPTH))
    prefill = await ask(Measure("prefill", [min(CHUNK, spec.batch)], PART_S, DEPTH))
    return request_s(decode, prefill)
