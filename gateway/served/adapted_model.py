"""A model with a LoRA adapter: a name of its own, and everything else its base's."""

from collections.abc import Callable

from gateway.config.model_entry import ModelEntry
from gateway.core.errors import UnknownModel
from gateway.dispatch.job import Job
from gateway.served.adapters import Adapter
from gateway.served.served_model import ServedModel
from workers.protocol import AdapterSet


class AdaptedModel(ServedModel):
    """Shares queue, workers, weights and options with its base."""

    def __init__(self, base: ServedModel, adapter: Adapter) -> None:
        self._base = base
        self.adapter = adapter
        super().__init__(base.entry, base.dispatcher, base.pool, base.loader)
        self.adapters = base.adapters

    def take(self, entry: ModelEntry) -> None:
        """Have the settings of the base, which a reload may change."""
        super().take(entry)
        self.name = self.adapter.name
        self.preload = False
        self.aliases = ()

    @property
    def base(self) -> ServedModel:
        return self._base

    def adapted(self, job: Job, may_use: Callable[[str], bool]) -> Job:
        """Raises UnknownModel, too: an admin may have unloaded it since it was looked up."""
        there = self.adapters.get(self.name)
        if there is None or there.id != self.adapter.id:
            message = f"the adapter '{self.name}' was unloaded meanwhile"
            raise UnknownModel(message, param="model")
        return super().adapted(job, may_use)

    @property
    def usual_adapters(self) -> AdapterSet:
        return ((self.adapter.digest, 1.0),)
