"""Goodput: the highest rate of arrivals at which nine of ten requests are served well.

Pure: ``passes`` does the work. A rate is tried, then higher ones until one fails (or lower ones
until one passes), then the middle; between two tries that differ by ``fine`` nothing is sought.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from .client import Answer

TTFT_S, GAP_S, SHARE = 2.0, 0.25, 0.9
STEP, FINE = 1.25, 1.15
LEAST, MOST = 1 / 4, 3.0
"""Of the first rate: below and above nothing is sought."""


def good(answer: Answer) -> bool:
    """Return whether a person would have been content with it."""
    if answer.error or not answer.moments:
        return False
    return answer.ttft <= TTFT_S and all(end - begin <= GAP_S for begin, end in answer.gaps)


def allowed(number: int) -> int:
    """Return how many of so many requests may be served badly."""
    return math.floor(number * (1 - SHARE) + 1e-9)


async def highest(
    passes: Callable[[float], Awaitable[bool]], first: float, *, step: float = STEP,
    fine: float = FINE,
) -> float:  # fmt: skip
    """The highest rate that passes, as far as it is sought; 0 if none does."""
    low, high = 0.0, math.inf
    rate = first
    while first * LEAST <= rate <= first * MOST:
        if await passes(rate):
            low = rate
            if high < math.inf:
                break
            rate *= step
        else:
            high = rate
            if low:
                break
            rate /= step
    while low and high / low > fine and high < math.inf:
        middle = math.sqrt(low * high)
        if await passes(middle):
            low = middle
        else:
            high = middle
    return low
