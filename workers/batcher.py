"""Which tokens go into the next decode step. Pure.

There are no phases, only a budget: a sequence has ``known`` tokens, of which ``computed`` are in
the KV cache, and each step computes some of the rest. A decoding sequence lacks exactly one token
and always gets it; what is left of the budget is shared evenly by the prompts, so a long one
neither freezes the running streams nor holds up short ones. (vLLM's scheduler has this shape.)

Rows of logits are a second budget. Most sequences want one, after their last token; a prompt whose
own tokens are to be judged wants one after each, and is computed in steps of what it gets.
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

    @property
    def logits_from(self) -> int:
        """The first token after which logits are wanted, as after all that follow it."""
        ...


def plan(sequences: Sequence[Computable], budget: int, rows: int) -> list[int]:
    """How many tokens of each sequence to compute in the next step (0: it sits this one out).

    The sum is at most ``budget``, and of :func:`rows_of` them at most ``rows``. Decoding sequences
    are served first, in the order given.
    """
    lacking = [sequence.known - sequence.computed for sequence in sequences]
    counts = [0] * len(sequences)
    for index, lack in enumerate(lacking):
        if lack == 1 and budget > 0 and rows > 0:
            counts[index] = 1
            budget -= 1
            rows -= 1
    prompts = [index for index, lack in enumerate(lacking) if lack > 1]
    wanted = [rows_of(sequences[index], lacking[index]) for index in prompts]
    most = [
        lacking[index] - want + given
        for index, want, given in zip(prompts, wanted, _share(rows, wanted), strict=True)
    ]
    for index, count in zip(prompts, _share(budget, most), strict=True):
        counts[index] = count
    return counts


def rows_of(sequence: Computable, count: int) -> int:
    """Rows of logits that the next ``count`` tokens of ``sequence`` bring: after the last ones."""
    return max(0, min(count, sequence.computed + count - sequence.logits_from))


def _share(supply: int, wanted: list[int]) -> list[int]:
    """An even share for each; what somebody leaves of theirs goes to those who want more."""
    given = [0] * len(wanted)
    for done, (want, index) in enumerate(sorted((want, i) for i, want in enumerate(wanted))):
        given[index] = min(want, supply // (len(wanted) - done))
        supply -= given[index]
    return given
