"""The models that clients are told of, those included that no request has asked for yet."""

from dataclasses import dataclass
from pathlib import Path

from gateway.core.split_files import parts
from gateway.served.adapted_model import AdaptedModel
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
    def parent(self) -> str | None:
        """Return the name of the model that it is an adapter of, if it is one."""
        if self.served is None or self.served.base is self.served:
            return None
        return self.served.base.name

    @property
    def info(self) -> ModelInfo | None:
        """Return the words of a worker about it; None before the first load."""
        return None if self.served is None else self.served.pool.model


def of_served(served: ServedModel) -> ListedModel:
    """Return the listing of a model that is served."""
    if isinstance(served, AdaptedModel):
        return ListedModel(served.name, (Path(served.adapter.opened.file.shown),), served)
    return ListedModel(served.name, tuple(parts(served.config.model)), served)


async def listed(registry: ModelRegistry, catalog: CatalogModels | None) -> list[ListedModel]:
    """Return all models: those that are configured, those of the caches if they are served, and
    adapters."""
    found = [of_served(each) for each in registry.configured]
    if catalog is not None:
        found += [
            ListedModel(entry.name, entry.files, catalog.adopted(entry.name))
            for entry in await catalog.entries()
        ]
    return [*found, *map(of_served, registry.adapted)]
