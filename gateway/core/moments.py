"""Moments as people write them."""

import math
from datetime import UTC, datetime

LATEST = 253402300800
"""Unix seconds of the year 10000."""


def moment(text: str) -> float:
    """Return Unix seconds for themselves, or for a date or time as ISO 8601 writes it.

    One without an offset is in UTC. Raises ValueError.
    """
    try:
        found = float(text)
    except ValueError:
        found = _iso(text)
    if math.isfinite(found) and 0 <= found < LATEST:
        return found
    raise ValueError(_wanted())


def _iso(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(_wanted()) from None


def _wanted() -> str:
    return "must be a date or time such as 2026-11-30 or 2026-11-30T08:00, or Unix seconds"
