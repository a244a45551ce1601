"""The served models as batches see them."""

from gateway.api.service import Service
from gateway.config.config import Config
from gateway.core.api_key import ApiKey


class ServedBatchModels:
    """Implements :class:`gateway.batches.protocols.BatchModels`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._slots: dict[str, tuple[Config, int]] = {}

    def find(self, key: ApiKey, name: str | None) -> str | None:
        """Return the own name of the model that a key means, if it may use that one."""
        served = self._service.find_for(key, name)
        return None if served is None else served.name

    def slots(self, model: str) -> int:
        """Return how many sequences of a model run at once; 0: there is no such model now."""
        served = self._service.registry.get(model)
        if served is None:
            return 0
        known = self._slots.get(model)
        if known is None or known[0] is not served.config:
            shape = served.config.shape()  # it looks at the file and at the machine
            known = self._slots[model] = served.config, shape.workers * shape.slots
        return known[1]
