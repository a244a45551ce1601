"""What a model's workers found that whoever serves it should know."""

import logging

from workers.protocol import ModelInfo

log = logging.getLogger("forge.models")


def tell(name: str, model: ModelInfo | None) -> None:
    """Say so, for the model that clients call ``name``."""
    for note in model.notes if model is not None else ():
        log.warning("model %s: %s", name, note)
