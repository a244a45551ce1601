"""The work that a model can be asked for, as answers tell it."""

from typing_extensions import TypedDict

from workers.protocol import ModelInfo


class Abilities(TypedDict):
    generates: bool
    """True: it chats and completes texts."""
    embeds: bool
    ranks: bool
    """True: it scores documents for a query, and does nothing else."""


def abilities(model: ModelInfo) -> Abilities:
    """Return what a model can be asked for."""
    return {"generates": model.generates, "embeds": model.embeds, "ranks": model.ranks}
