"""Choice of the worker that takes the next job. Pure.

A job goes home if it was parked on a worker that has a credit. Otherwise each worker with a credit
is scored in bytes of prompts to compute: the worth of the prefix that it has, less its backlog,
plus ``neighbour`` bytes for each credit; the highest score wins.

Example with a neighbour of 500 bytes: worker 0 has a prefix worth 3,000 bytes and 2 credits, worker
1 no prefix and 4 credits. Worker 0 scores 3,000 + 1,000 = 4,000, worker 1 scores 2,000: the job
goes to worker 0, for its "prefix". With a backlog of 2,500 bytes worker 0 scores 1,500, and the job
goes to worker 1, a "spill". If no worker has any of the prompt, the reason is "load".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.core.prompt_size import BYTES_PER_TOKEN
from workers.protocol import Generate

Reason = Literal["home", "prefix", "spill", "load"]
"""Why it goes there: it was parked there; most of its prompt is there; most of it is elsewhere, but
there is too much to do, or no credit; no worker has any of it, and there is least to do."""
REASONS: tuple[Reason, ...] = get_args(Reason)

USUAL_ANSWER = 128
"""Tokens that a generation is expected to sample, unless it asks for fewer."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A worker's offer to a job."""

    worker: int
    credits: int
    """Generations that it could take."""
    spared: int = 0
    """Bytes of the job's prompt that need not be computed there."""
    worth: float = 0.0
    """Worth of that, in bytes to compute."""
    backlog: int = 0
    """Bytes of other prompts that are to be computed there."""


def neighbour(request: Generate) -> int:
    """Return the cost of running beside one more generation, in bytes of a prompt.

    While both sample, each waits for the other's tokens; a token to sample takes about as long as
    one of a prompt. Half of the other's are sampled when this one begins, so what both wait
    together is as much as one of them samples.
    """
    limit = USUAL_ANSWER if request.params.max_tokens is None else request.params.max_tokens
    return BYTES_PER_TOKEN * max(1, min(limit, USUAL_ANSWER))


def choose(
    offers: Sequence[Offer], neighbour: int = 1, home: int | None = None
) -> tuple[int, Reason] | None:
    """A worker with a credit, and why that one; None if all are full.

    ``home`` has the job's own cells: it comes first. Otherwise what a worker spares is weighed
    against what there is to do: a generation more counts like ``neighbour`` bytes to compute. Among
    equals the one with most credits comes first, and then the lowest id. No job waits for a full
    worker.
    """
    open_ = [offer for offer in offers if offer.credits > 0]
    if not open_:
        return None
    if any(offer.worker == home for offer in open_):
        assert home is not None
        return home, "home"
    best = max(
        open_, key=lambda o: (o.worth - o.backlog + neighbour * o.credits, o.credits, -o.worker)
    )
    longest = max(offer.spared for offer in offers)
    if not longest:
        return best.worker, "load"
    return best.worker, "prefix" if best.spared == longest else "spill"
