"""The work that a model can be asked for, as answers tell it."""

from typing import Literal

from typing_extensions import TypedDict

from gateway.conversation import BLIND, Sense, Senses
from gateway.served.served_model import ServedModel
from workers.protocol import ModelInfo

Modality = Literal["text", "image", "audio"]
ORDER: tuple[Sense, ...] = ("image", "audio")


class Abilities(TypedDict):
    generates: bool
    """True: it chats and completes texts."""
    embeds: bool
    ranks: bool
    """True: it scores documents for a query, and does nothing else."""
    sees: bool
    """True: it takes pictures."""
    hears: bool
    """True: it takes sound."""


class Architecture(TypedDict):
    input_modalities: list[Modality]
    """Media of requests, in llama-server's words: `image` of a model that takes pictures, `audio`
    of one that takes sound."""
    output_modalities: list[Literal["text"]]


def architecture(able: Senses) -> Architecture:
    """Return the media that a model takes, as llama-server and other servers tell them."""
    inputs: list[Modality] = ["text", *(each for each in ORDER if each in able)]
    return {"input_modalities": inputs, "output_modalities": ["text"]}


def senses_of(served: ServedModel | None) -> Senses:
    """Return the media that a model takes; of one that no request has asked for, none."""
    return BLIND if served is None else senses(served)


def senses(served: ServedModel) -> Senses:
    """Return the media that a model takes: as its worker found, or before that its file says."""
    model = served.pool.model
    if model is None:
        return served.projected
    found: list[Sense] = []
    if model.sees:
        found.append("image")
    if model.hears:
        found.append("audio")
    return frozenset(found)


def abilities(model: ModelInfo) -> Abilities:
    """Return what a model can be asked for."""
    return {
        "generates": model.generates,
        "embeds": model.embeds,
        "ranks": model.ranks,
        "sees": model.sees,
        "hears": model.hears,
    }
