"""Which tokens go into the next decode step. Pure.

There are no phases, only a budget: a sequence has ``known`` tokens, of which ``computed`` are in
the KV cache, and each step computes some of the rest. A decoding sequence lacks exactly one token
and always gets it; what is left of the budget is shared evenly by the prompts, so a long one
neither freezes the running streams nor holds up short ones. (vLLM's scheduler has this shape.)
"""

from collections.abc import Sequence
from typing import Protocol


class Computable(Protocol):
    """What the batcher needs to see of a generation."""

    @property
    def known(self) -> int:
        """Tokens of prompt and completion so far."""
        ...

    @property
    def computed(self) -> int:
        """How many of them have their KV cells; always less than ``known``."""
        ...


def plan(sequences: Sequence[Computable], budget: int) -> list[int]:
    """How many tokens of each sequence to compute in the next step (0: it sits this one out).

    The sum is at most ``budget``. Decoding sequences are served first, in the order given.
    """
    lacking = [sequence.known - sequence.computed for sequence in sequences]
    counts = [0] * len(sequences)
    for index, lack in enumerate(lacking):
        if lack == 1 and budget > 0:
            counts[index] = 1
            budget -= 1
    prompts = sorted((lack, index) for index, lack in enumerate(lacking) if lack > 1)
    # Smallest first: what a short prompt leaves of its even share goes to the longer ones.
    for done, (lack, index) in enumerate(prompts):
        share = budget // (len(prompts) - done)
        counts[index] = min(lack, share)
        budget -= counts[index]
    return counts
