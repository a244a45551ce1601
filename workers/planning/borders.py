"""The positions of a prompt at which others are likely to part from it. Pure.

Where a memory can't be cut, its state is remembered there. A template opens each message with a
control token, and what a client changes are messages: the last one is edited, an answer is asked
for again, thoughts are dropped, a turn is added. So the borders are before the first message that
follows the opening (what agents have in common ends there), before the last few, and before the
last token, for the same prompt again. A prompt without control tokens has some at growing distances
from its end.

An example, one letter a token and ``<`` a control token: ``<aaaaaa<bbbbbb<cccccc<d`` has borders
before each ``<`` but the first and before ``d``.
"""

from collections.abc import Callable, Sequence

LAST = 4
"""Messages from the end whose beginnings are borders."""
LEAST = 4
"""Tokens between two borders: a state takes memory."""
DISTANCES = (64, 256, 1024)
"""From the end, of a prompt without messages."""


def borders(tokens: Sequence[int], control: Callable[[int], bool]) -> list[int]:
    """Return positions within ``tokens``, in ascending order."""
    opening = [at for at in range(1, len(tokens)) if control(tokens[at])]
    spaced = list[int]()
    end = len(tokens)
    for at in reversed(opening):
        if end - at >= LEAST or not spaced:
            spaced.append(at)
            end = at
    chosen = {*spaced[:LAST], *spaced[-1:], len(tokens) - 1}
    if len(spaced) < 2:
        chosen |= {len(tokens) - distance for distance in DISTANCES}
    return sorted(at for at in chosen if at > 0)
