"""The tokens that go into the next decode step. Pure.

There are no phases, only budgets: a sequence has ``known`` tokens, of which ``computed`` are in the
KV cache, and each step computes some of the rest. A sequence that lacks one token always gets it;
then the others get what they lack, in the order given, until what a step may spend on them is
spent, so that the running streams never wait long. (vLLM's scheduler has this shape.)

The order is that of :func:`turn`: the gateway's, but each also waits for its own length. So short
prompts go past a long one, which ages meanwhile, and no prompt starves.

llama.cpp computes sequences together that have as many tokens left, so each part of a prompt costs
passes over the weights. A prompt that would get only a few tokens, for those before it have the
rest, waits for the next step; one that lacks a little more than what is left gets all.

Rows of logits are one more budget. Most sequences want one, after their last token; a prompt whose
own tokens are to be judged wants one after each, and is computed in steps of what it gets.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

MORE = 8
"""A prompt may have this part of all prompts' tokens more, if it is computed wholly with that."""


class Computable(Protocol):
    """A generation, as far as the batcher sees it."""

    @property
    def computed(self) -> int:
        """Return how many of its tokens have their KV cells."""
        ...

    @property
    def lacks(self) -> int:
        """Tokens that are known and not computed."""
        ...

    @property
    def rank(self) -> float:
        """Its place in the gateway's queue, in seconds: the smallest comes first."""
        ...

    @property
    def logits_from(self) -> int:
        """The first token after which logits are wanted, as after all that follow it."""
        ...


def plan(
    sequences: Sequence[Computable], budget: int, prefill: int, rows: int, least: int = 1
) -> list[int]:
    """Return the tokens of each sequence to compute in the next step (0: it sits this one out).

    The sum is at most ``budget``, of those that lack more than one token at most ``prefill``, with
    an eighth more for the last one if that is all it lacks, and of :func:`rows_of` them all at
    most ``rows``. The order given is the order of service. ``least``: fewer tokens than that are
    not begun with beside other prompts, unless they are all.
    """
    lacking = [sequence.lacks for sequence in sequences]
    counts = [0] * len(sequences)
    for index, lack in enumerate(lacking):
        if lack == 1 and budget > 0 and rows > 0:
            counts[index] = 1
            budget -= 1
            rows -= 1
    prompts = [index for index, lack in enumerate(lacking) if lack > 1]
    wanted = [rows_of(sequences[index], lacking[index]) for index in prompts]
    left = most = min(budget, prefill)
    for index, want, given in zip(prompts, wanted, share(rows, wanted), strict=True):
        if left <= 0:
            break
        whole = lacking[index] - want + given
        if whole <= left or (given == want and whole <= min(budget, left + most // MORE)):
            counts[index] = whole
            left -= whole
        else:
            counts[index] = left if left >= least or left == most else 0
            left = 0
        budget -= counts[index]
    return counts


def turn(sequence: Computable, prompt_s: Callable[[int, int], float]) -> float:
    """Its place among those that lack tokens, in seconds: the smallest comes first.

    ``prompt_s``: the seconds that so many tokens cost after so many others. A prompt lets those
    pass that came later and would be done before it even had it been alone.
    """
    return sequence.rank + prompt_s(sequence.lacks, sequence.computed)


def rows_of(sequence: Computable, count: int) -> int:
    """Rows of logits that the next ``count`` tokens of ``sequence`` bring: after the last ones."""
    return max(0, min(count, sequence.computed + count - sequence.logits_from))


def share(supply: int, wanted: list[int]) -> list[int]:
    """Share evenly; what a prompt leaves of its share goes to those that want more."""
    given = [0] * len(wanted)
    for done, (want, index) in enumerate(sorted((want, i) for i, want in enumerate(wanted))):
        given[index] = min(want, supply // (len(wanted) - done))
        supply -= given[index]
    return given
