"""The models that clients are told of, those included that no request has asked for yet."""

from dataclasses import dataclass
from pathlib import Path

from gateway.core.split_files import parts
from gateway.served.catalog_models import CatalogModels
from gateway.served.load_policy import State
from gateway.served.registry import ModelRegistry
from gateway.served.served_model import ServedModel
from workers.protocol import ModelInfo


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model by its own name."""

    name: str
    files: tuple[Path, ...]
    served: ServedModel | None
    """None: it is in the caches, and no request has asked for it."""

    @property
    def state(self) -> State:
        return "unloaded" if self.served is None else self.served.state

    @property
    def info(self) -> ModelInfo | None:
        """Return the words of a worker about it; None before the first load."""
        return None if self.served is None else self.served.pool.model


def of_served(served: ServedModel) -> ListedModel:
    """Return the listing of a model that is served."""
    return ListedModel(served.name, tuple(parts(served.config.model)), served)


async def listed(registry: ModelRegistry, catalog: CatalogModels | None) -> list[ListedModel]:
    """Return all models: those that are configured, then those of the caches if they are served."""
    found = [of_served(each) for each in registry.configured]
    if catalog is not None:
        found += [
            ListedModel(entry.name, entry.files, catalog.adopted(entry.name))
            for entry in await catalog.entries()
        ]
    return found
