"""A model with a LoRA adapter: a name of its own, and everything else its base's."""

from gateway.served.adapters import Adapter
from gateway.served.served_model import ServedModel
from workers.protocol import AdapterSet


class AdaptedModel(ServedModel):
    """Shares queue, workers, weights and options with its base."""

    def __init__(self, base: ServedModel, adapter: Adapter) -> None:
        super().__init__(base.entry, base.dispatcher, base.pool, base.loader)
        self.name = adapter.name
        self.adapter = adapter
        self.adapters = base.adapters
        self.preload = False
        self.aliases = ()
        self._base = base

    @property
    def base(self) -> ServedModel:
        return self._base

    @property
    def usual_adapters(self) -> AdapterSet:
        return ((self.adapter.digest, 1.0),)
