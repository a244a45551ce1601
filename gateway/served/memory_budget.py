"""The memory budget: what each model needs of it, and whether that can ever be had."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.config.config import MIB, Config, ConfigError, NotNow
from gateway.config.model_entry import ModelEntry
from gateway.core.byte_sizes import readable
from gateway.core.split_files import parts
from gateway.model_files import gguf, memory_check, memory_fit
from gateway.model_files.memory_estimate import GATEWAY
from gateway.model_files.memory_probe import MemoryProbe, NotPlanned, remembering
from gateway.system import host

BOUNDLESS = 1 << 62
"""Bytes of all nodes of a cluster, whose memory is not added up."""


@dataclass(frozen=True, slots=True)
class MemoryShare:
    """A model, and what it takes of the memory."""

    entry: ModelEntry
    need: int
    """Bytes without the gateway's; 0 where it is unknown."""
    figures: str = ""
    """The parts that add up to them."""

    def check(self) -> None:
        """Raises :class:`NotNow` if what is free now is too little."""
        config, free = self.entry.config, host.memory_available()
        if config.cluster is not None:
            return  # the memory is that of nodes
        if free is None or config.force or self.need <= free or memory_check.on_gpu(config):
            return
        raise NotNow(
            f"it needs {readable(self.need)} of memory, and {readable(free)} are free: "
            f"{self.figures}{memory_fit.TRY_ANYWAY}"
        )


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """The models, and the memory that they share."""

    shares: Sequence[MemoryShare]
    budget: int
    """Bytes for all of them, without the gateway."""


def plan(server: Config, entries: Sequence[ModelEntry]) -> MemoryBudget:
    """Raises :class:`ConfigError` for what can never be loaded, unless it is forced.

    That is :class:`NotNow` where the budget is the memory that is free now.
    """
    if server.cluster is not None:
        return MemoryBudget(list(map(_on_nodes, entries)), BOUNDLESS)
    budget = _budget(server, entries)
    shares = list[MemoryShare]()
    with remembering() as probe:
        for entry in entries:
            try:
                shares.append(_share(server, entry, budget, probe))
            except ConfigError as error:
                raise type(error)(f"models.{entry.name}: {error}") from error
    preloaded = GATEWAY + sum(share.need for share in shares if share.entry.preload)
    if preloaded > budget and not server.force:
        raise _too_little(server)(
            f"the models that are there from the start need {readable(preloaded)} of memory "
            f"together, and {readable(budget)} are the memory budget"
        )
    return MemoryBudget(shares, budget - GATEWAY)


def share(server: Config, entry: ModelEntry, budget: int) -> MemoryShare:
    """Return what one model takes of a budget that :func:`plan` made.

    Raises :class:`ConfigError` if it can never be loaded.
    """
    if server.cluster is not None:
        return _on_nodes(entry)
    with remembering() as probe:
        return _share(server, entry, budget + GATEWAY, probe)


def _on_nodes(entry: ModelEntry) -> MemoryShare:
    """Return a model by its files' size: nodes have places for workers, or have not."""
    return MemoryShare(entry, sum(part.stat().st_size for part in parts(entry.config.model)))


def need_of(config: Config) -> int:
    """Return the bytes that a model's workers take, without the gateway; 0 where it is unknown."""
    with remembering() as probe:
        try:
            wanted = memory_check.wanted_by(config, gguf.read(config.model), probe)
            return wanted.need().total - GATEWAY
        except (gguf.Unreadable, NotPlanned):
            return 0


def _budget(server: Config, entries: Sequence[ModelEntry]) -> int:
    """Bytes for all of the server."""
    if server.memory_budget != "auto":
        return server.memory_budget * MIB
    free = host.memory_available() or host.total_memory()
    if server.catalog:  # how many there will be is unknown: each counts its own
        return free
    return max(0, free - sum(entry.config.cache_bytes() for entry in entries))


def _too_little(server: Config) -> type[ConfigError]:
    return NotNow if server.memory_budget == "auto" else ConfigError


def _share(server: Config, entry: ModelEntry, budget: int, probe: MemoryProbe) -> MemoryShare:
    config = entry.config
    try:
        wanted = memory_check.wanted_by(config, gguf.read(config.model), probe)
        need = wanted.need()
    except (gguf.Unreadable, NotPlanned):  # the worker that tries to will say why
        return MemoryShare(entry, 0)
    # Without a budget of its own nothing is known of a GPU's memory.
    unknown = server.memory_budget == "auto" and memory_check.on_gpu(config)
    if not (config.force or unknown):
        reason = memory_fit.refusal(wanted, budget, "are the memory budget")
        if reason is not None:
            raise _too_little(server)(reason)
    saved = config.cache_bytes() if server.catalog else 0
    return MemoryShare(entry, need.total - GATEWAY + saved, memory_fit.figures(need))
