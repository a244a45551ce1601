"""Hours that answer a question about usage, added up to its steps. Pure."""

from collections.abc import Iterable, Mapping

from gateway.core.periods import HOUR_S
from gateway.core.usage_counts import (
    NOTHING,
    STEP_S,
    UsageCounts,
    UsageKey,
    UsageQuestion,
    UsageSum,
)


def summed(hours: Mapping[UsageKey, UsageCounts], asked: UsageQuestion) -> list[UsageSum]:
    """Return what is asked for of hours, the newest first."""
    step = STEP_S[asked.step] // HOUR_S
    wanted = (
        UsageSum(at.hour // step * step, at.owner, at.model, counts)
        for at, counts in hours.items()
        if asked.since <= at.hour < asked.until
        and asked.owner in (None, at.owner)
        and asked.model in (None, at.model)
    )
    return joined(wanted, asked.limit)


def joined(sums: Iterable[UsageSum], limit: int) -> list[UsageSum]:
    """Return one sum for each step, key and model, the newest first, ``limit`` of them."""
    found: dict[tuple[int, str, str], UsageCounts] = {}
    for at, owner, model, counts in sums:
        found[at, owner, model] = found.get((at, owner, model), NOTHING).plus(counts)
    order = sorted(found, key=lambda each: (-each[0], each[1], each[2]))
    return [UsageSum(*each, found[each]) for each in order[:limit]]
