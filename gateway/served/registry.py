"""All models of a server, and sums over all of them."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.core.errors import UnknownModel
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.queue import Entry
from gateway.dispatch.sequence import Sequence as Generation
from gateway.dispatch.stats import DispatcherStats
from gateway.pool import FileState, WorkerStatus
from gateway.served.adapted_model import AdaptedModel
from gateway.served.adapters import Adapter
from gateway.served.aliases import Aliases
from gateway.served.copied_names import CopiedNames
from gateway.served.load_policy import State
from gateway.served.served_model import ServedModel

MOST_NAMED = 20
"""Models that an error names."""
MOST_TOLD = 200
"""Characters of an unknown name that an error repeats."""


class Standing(NamedTuple):
    """A sequence that waits, and where."""

    model: ServedModel
    stats: DispatcherStats
    """Of the dispatcher that has it: a model has several while its workers are replaced."""
    entry: Entry
    sequence: Generation


class ModelRegistry:
    """Hold one model at least; the first serves requests that name none."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        copies: CopiedNames | None = None,
        further: Callable[[str], ServedModel | None] = lambda name: None,
    ) -> None:
        """``models``: those that are configured.

        ``further`` finds others by their names, which are :meth:`added <add>` once they are served.
        """
        self.models: list[ServedModel] = []
        self.copies = CopiedNames(None) if copies is None else copies
        self._further = further
        self._adapted: dict[str, AdaptedModel] = {}
        self.configure(models)

    def configure(self, models: Sequence[ServedModel]) -> None:
        """Serve these under their names of now.

        Models that were configured and are not among them stay until :meth:`remove`, nameless.
        """
        others = [each for each in self.models if each not in models]
        self.configured = tuple(models)
        self.models = [*models, *others]
        self._by_name = {model.name: model for model in models}
        self._aliases = Aliases({model.name: model.aliases for model in models})
        for adapted in self._adapted.values():
            adapted.take(adapted.base.entry)

    def add(self, model: ServedModel) -> None:
        """Take a model that is not configured."""
        self.models.append(model)

    def remove(self, model: ServedModel) -> None:
        """Forget one that was added."""
        self.models.remove(model)

    # ------------------------------------------------------------------ LoRA adapters

    @property
    def adapted(self) -> list[AdaptedModel]:
        """Return the models' adapters, each of which is a model for clients."""
        return list(self._adapted.values())

    def adapt(self, base: ServedModel, adapter: Adapter) -> None:
        """Serve a model with an adapter, under the adapter's name, which :meth:`taken` is not."""
        self._adapted[adapter.name] = AdaptedModel(base, adapter)

    def forget_adapter(self, name: str) -> None:
        """Serve it no more."""
        del self._adapted[name]

    def taken(self, name: str) -> bool:
        """Return whether a model or an adapter is called so, by itself or in its table."""
        return name in self._adapted or self.named(name) is not None

    @property
    def first(self) -> ServedModel:
        return self.models[0]

    def get(self, name: object) -> ServedModel | None:
        """Return the model of that name or alias, the first for None; None for any other value.

        Own names come first, then those of tables, copied ones, names of the caches, and patterns.
        """
        if name is None:
            return self.first
        if not isinstance(name, str):
            return None
        found = self.named(name)
        if found is not None:
            return found
        if name in self._adapted:
            return self._adapted[name]
        own = self.copies.find(name) or name
        found = self._by_name.get(own) or self._adapted.get(own) or self._further(own)
        return found if found or own != name else self._by_name.get(self._aliases.find(name) or "")

    def named(self, name: str) -> ServedModel | None:
        """Return the configured model that has this name, or this plain alias."""
        return self._by_name.get(name) or self._by_name.get(self._aliases.exact(name) or "")

    def configured_aliases(self, name: str) -> list[str]:
        """Return the other names of a model that its table has, patterns apart."""
        return [alias for alias in self._aliases.plain(name) if alias not in self._by_name]

    def plain_aliases(self, name: str) -> list[str]:
        """Return the other names of a model that are no patterns and no model's own."""
        copied = (
            each
            for each in self.copies.of(name)
            if each not in self._by_name and self._aliases.exact(each) is None
        )
        return sorted({*self.configured_aliases(name), *copied})

    def unknown(self, name: object, there: Sequence[str]) -> UnknownModel:
        """Return the error for a model that is not there; ``there``: names of those that are."""
        if not there:
            text = "this API key may use no model of that name; GET /v1/models lists those it may"
            return UnknownModel(text, param="model")
        asked = str(name) if len(str(name)) <= MOST_TOLD else f"{str(name)[:MOST_TOLD]}..."
        names = ", ".join(f"'{each}'" for each in there[:MOST_NAMED])
        more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
        return UnknownModel(
            f"the model '{asked}' does not exist; this server has {names}{more}", param="model"
        )

    def states(self) -> list[tuple[str, State]]:
        """Return the name and the load state of each model."""
        return [(model.name, model.state) for model in self.models]

    def file_states(self) -> list[tuple[str, FileState]]:
        """Return the name of each model, and what became of its file since it was loaded."""
        states: dict[str, FileState] = dict.fromkeys((each.name for each in self.models), "same")
        states |= {model.name: status.model_file for model, status in self.workers()}
        return list(states.items())

    def restarts(self) -> int:
        """Worker processes started in the place of others."""
        return sum(model.restarts for model in self.models)

    def worker_numbers(self) -> list[int]:
        """Return the numbers of all workers, those of unloaded models included."""
        numbers = [number for model in self.models for number in model.numbers]
        return list(dict.fromkeys([*numbers, *(status.id for _, status in self.workers())]))

    @property
    def names(self) -> list[str]:
        """Names by which clients ask for the models, and for their adapters."""
        return [model.name for model in (*self.models, *self._adapted.values())]

    # ------------------------------------------------------------------ sequences

    def depth(self) -> int:
        """Sequences waiting."""
        return sum(each.stats.depth() for each in self._dispatchers())

    def spare_depth(self) -> int:
        """Spare ones among them."""
        return sum(each.stats.spare_depth() for each in self._dispatchers())

    def spare_running(self) -> int:
        """Spare sequences with a worker."""
        return sum(each.stats.spare_running() for each in self._dispatchers())

    def running(self) -> int:
        """Sequences with a worker."""
        return sum(each.stats.running() for each in self._dispatchers())

    def paused(self) -> int:
        """Sequences that wait for their clients to read."""
        return sum(each.stats.paused() for each in self._dispatchers())

    def preemptions(self) -> int:
        """Sequences parked for more urgent ones, since the start."""
        return sum(model.dispatcher.stats.preemptions for model in self.models)

    def failovers(self) -> int:
        """Sequences put back because their workers died, since the start."""
        return sum(model.dispatcher.stats.failovers for model in self.models)

    def waiting(self) -> list[Generation]:
        """All sequences that wait, in no order."""
        return [each for one in self._dispatchers() for each in one.stats.waiting()]

    def served(self) -> list[Generation]:
        """All sequences with a worker."""
        return [each for one in self._dispatchers() for each in one.stats.served()]

    def order(self) -> Iterator[Standing]:
        """Yield waiting sequences in the order of service, were all slots free; O(n log n)."""

        def of(model: ServedModel, stats: DispatcherStats) -> Iterator[Standing]:
            return (Standing(model, stats, *found) for found in stats.order())

        return heapq.merge(
            *(of(model, each.stats) for model in self.models for each in model.dispatchers),
            key=lambda found: (found.sequence.job.spare, found.entry.key),
        )

    def _dispatchers(self) -> Iterator[Dispatcher]:
        """Yield all of them, those included that finish requests of before a reload."""
        return (each for model in self.models for each in model.dispatchers)

    def wait_estimate_s(self) -> float | None:
        """Estimate seconds until a new request for the busiest model would start."""
        estimates = (model.dispatcher.stats.wait_estimate_s() for model in self.models)
        return max((each for each in estimates if each is not None), default=None)

    def now_ns(self) -> int:
        """The dispatchers' clock."""
        return self.first.dispatcher.stats.now_ns()

    @property
    def draining(self) -> bool:
        return self.first.dispatcher.draining

    # ------------------------------------------------------------------ workers

    def workers(self) -> list[tuple[ServedModel, WorkerStatus]]:
        """Return all worker processes, each with its model."""
        return [(model, status) for model in self.models for status in model.workers()]

    def placements(self) -> Mapping[str, int]:
        """Count generations given to workers since the start, by reason of the placement."""
        total = Counter[str]()
        for model in self.models:
            total.update(model.placements())
        return total
