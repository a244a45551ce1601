"""Warnings of a model's workers, in the log."""

import logging

from workers.protocol import ModelInfo

log = logging.getLogger("forge.models")


def tell(name: str, model: ModelInfo | None) -> None:
    """Log the notes of the model that clients call ``name``."""
    for note in model.notes if model is not None else ():
        log.warning("model %s: %s", name, note)
