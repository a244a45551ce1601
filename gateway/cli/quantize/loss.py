"""The loss, added up: of each type, of each kind of tensor, of all. Pure."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gateway.model_files.gguf import Tensor
from workers.protocol import Error, Scored

LAYER = re.compile(r"^blk\.\d+\.")


@dataclass(frozen=True, slots=True)
class Change:
    """One tensor before and after. ``error``: None where the weights can't be compared."""

    before: Tensor
    after: Tensor
    error: Error | None

    @property
    def kind(self) -> str:
        """Its name without the layer's number."""
        return LAYER.sub("", self.before.name).removesuffix(".weight")

    @property
    def types(self) -> str:
        """From what to what."""
        before, after = self.before.type.name, self.after.type.name
        return before if before == after else f"{before} → {after}"


@dataclass(frozen=True, slots=True)
class Loss:
    """Of some tensors together."""

    name: str
    tensors: int
    before: int
    """Bytes."""
    after: int
    mean: float | None
    """Mean absolute difference of a weight; None if some can't be compared."""
    relative: float | None
    """Root of the mean squared difference, as a part of that of the weights."""


def of(name: str, changes: Iterable[Change]) -> Loss:
    """Of all of them together."""
    given = list(changes)
    errors = [each.error for each in given if each.error is not None]
    values = sum(each.before.values for each in given)
    mean = relative = None
    if len(errors) == len(given) and values:
        mean = sum(error.absolute for error in errors) / values
        power = sum(error.power for error in errors)
        relative = math.sqrt(sum(error.squared for error in errors) / power) if power else 0.0
    return Loss(
        name,
        len(given),
        sum(each.before.size for each in given),
        sum(each.after.size for each in given),
        mean,
        relative,
    )


def by(what: Callable[[Change], str], changes: Iterable[Change]) -> list[Loss]:
    """Of those that have something in common, in the order in which they first come."""
    groups: dict[str, list[Change]] = {}
    for each in changes:
        groups.setdefault(what(each), []).append(each)
    return [of(name, group) for name, group in groups.items()]


def worst(changes: Iterable[Change], count: int) -> list[Loss]:
    """The tensors that lost most, relative to their weights."""
    found = [of(each.before.name, [each]) for each in changes]
    lossy = [each for each in found if each.relative]
    return sorted(lossy, key=lambda each: each.relative or 0.0, reverse=True)[:count]


def perplexity(scored: Scored) -> float:
    """e to the mean surprise of a token; infinite if that is too much for a float."""
    mean = scored.nats / scored.tokens
    return math.exp(mean) if mean < 700 else math.inf


def as_json(loss: Loss) -> dict[str, Any]:
    """For programs."""
    return {
        "name": loss.name,
        "tensors": loss.tensors,
        "bytes_before": loss.before,
        "bytes_after": loss.after,
        "mean_absolute_error": loss.mean,
        "relative_error": loss.relative,
    }
