"""The order of a step's sequences, so that those about as long are computed together. Pure.

llama.cpp computes a batch in passes over the weights. Sequences whose numbers follow each other, in
the order of the batch, share a pass; where they don't, another one begins. Without flash attention
each sequence of a pass attends to as many cells as the longest of them has, and what is not its own
is masked afterwards. So a long chat makes short ones beside it as slow as itself: five streams of
256 tokens and one of 2,048 took 143 ms together (two threads, a model of 135M), and 89 in two
passes. Of a prompt's tokens only the first is computed with the others; the rest has a pass anyway.

An example: streams 0 to 2 have 300, 300 and 5,000 cells, and a pass costs as much as attention to
700. All in one cost 700 + 3 * 5,120; apart it is 700 + 2 * 512 and 700 + 5,120, with numbers
rounded up as llama.cpp does. So the batch begins with 2, and 0 and 1 follow.
"""

from collections.abc import Sequence
from typing import NamedTuple

from workers.planning.geometry import padded


class StepPart(NamedTuple):
    """A sequence's part of a step."""

    number: int
    cells: int
    """The cells to which its last token attends."""
    tokens: int = 1


def passes_of(rows: Sequence[StepPart]) -> int:
    """Return the passes of a batch in this order.

    Each pass has the next token of its sequences until one of them has no more.
    """
    left, made = [(row.number, row.tokens) for row in rows], 0
    while left:
        together = left[:1]
        for row in left[1:]:
            if row[0] == together[-1][0] + 1:
                together.append(row)
        taken = dict.fromkeys(together, min(tokens for _, tokens in together))
        rest = [(number, tokens - taken.get((number, tokens), 0)) for number, tokens in left]
        left, made = [row for row in rest if row[1]], made + 1
    return made


def order(rows: Sequence[StepPart], a_pass: int) -> list[int]:
    """Return the indices of ``rows``, whose numbers rise, in the order of the cheapest batch.

    ``a_pass``: the cells to which one token could attend in the time of a pass; 0: each sequence
    attends to its own cells only, whatever the order is.
    """
    cells = [padded(row.cells) for row in rows]
    if not a_pass or len(rows) * max(cells, default=0) - sum(cells) <= a_pass:
        return list(range(len(rows)))
    begins, end, found = _begins(rows, cells, a_pass), len(rows), list[int]()
    # The last numbers come first, so that no two groups follow each other.
    while end:
        found += range(begins[end], end)
        end = begins[end]
    return found


def _begins(rows: Sequence[StepPart], cells: Sequence[int], a_pass: int) -> list[int]:
    """For each number of first rows: where the last group of their cheapest division begins."""
    costs, begins = [0], [0]
    for end in range(1, len(rows) + 1):
        found, longest, passes = list[tuple[int, int]](), 0, 0
        for begin in range(end - 1, -1, -1):
            longest = max(longest, cells[begin])
            apart = begin + 1 < end and rows[begin + 1].number != rows[begin].number + 1
            passes += apart + (rows[begin].tokens > 1)
            alone = end - begin == 1 and rows[begin].tokens > 1
            cost = (passes + (not alone)) * a_pass + (end - begin) * longest
            found.append((costs[begin] + cost, begin))
        cost, begin = min(found)
        costs.append(cost)
        begins.append(begin)
    return begins
