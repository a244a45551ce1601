"""Numbers in the values of options, as texts. Pure."""

import math
import re


def whole(text: str, expected: str = "expected a whole number") -> int:
    """Return a whole number of 64 bits at most. Raises ValueError with ``expected``."""
    found = int(text) if re.fullmatch(r"[+-]?[0-9]{1,19}", text) else None
    if found is None or not -(2**63) <= found < 2**63:
        raise ValueError(expected)
    return found


def number(text: str, expected: str = "expected a number") -> float:
    """Return a finite number. Raises ValueError with ``expected``."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(expected)
    return found
