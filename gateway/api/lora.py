"""llama-server's field ``lora``: the LoRA adapters of a request, by their numbers."""

from typing import Annotated

from pydantic import Field

from gateway.api.nested import Nested
from gateway.config.adapter_options import MOST_SCALE

MOST = 64
"""Adapters that a request names; few of them may have an effect."""


class LoraScale(Nested):
    """An adapter and its scale. Of adapters that a request does not name it has none."""

    id: int = Field(ge=0, le=2**31)
    """Its number in `GET /lora-adapters`."""
    scale: float = Field(0.0, ge=-MOST_SCALE, le=MOST_SCALE, allow_inf_nan=False)
    """Factor on what the adapter changes; 0: nothing."""


LoraScales = Annotated[list[LoraScale], Field(max_length=MOST, fail_fast=True)]


def scales(given: list[LoraScale] | None) -> tuple[tuple[int, float], ...]:
    """Return numbers and scales; none: nothing is said."""
    return tuple((each.id, each.scale) for each in given or ())
