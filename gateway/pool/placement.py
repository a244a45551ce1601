"""The choice of the worker that takes the next job. Pure.

A worker that has computed the beginning of a prompt spares that work, but a busy worker makes the
job wait. Both are measured in bytes of prompts to compute, so they can be added: the worth of the
spared prefix, minus the prompts that the worker has yet to compute, plus a generation's cost for
each of its free slots. The worker with the largest sum gets the job.

An example: a job has a prompt of 8,000 bytes and may sample 100 tokens, so a neighbour counts 400
bytes. Worker 0 has 6,000 bytes of the prompt and 1 free slot, and 5,000 bytes of other prompts to
compute: 6,000 - 5,000 + 400 * 1 = 1,400. Worker 1 has nothing of it, no backlog and 4 free slots:
0 - 0 + 400 * 4 = 1,600. The job goes to worker 1, and the reason is "spill": the prefix was
elsewhere, but computing 6,000 bytes anew is faster than waiting. With a backlog of 4,000 bytes
worker 0 would have 2,400, and the reason would be "prefix". A parked job goes home to its state.

Generations with other LoRA adapters share no step with the job: while one is computed, the other
waits. Each costs another ``neighbour``, beside its slot. So adapters gather on workers as long as
there is room: of two workers with 2 of 4 slots free, one busy with the job's own adapter has
400 * 2 = 800 and the other 400 * (2 - 2) = 0.

A conversation may have a name. Among workers of the same sum, the one that had its last turn gets
the next: the gateway compares bytes and may not see that the prompts begin alike for the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.core.prompt_size import BYTES_PER_TOKEN
from workers.protocol import Generate

Reason = Literal["home", "prefix", "spill", "session", "load"]
"""The reason for a worker: the job was parked there; most of its prompt is cached there; another
worker has cached more of it, but has too much to do or no credit; no worker is known to have cached
any of it, and of those that have least to do this one had the conversation's last turn; likewise,
and none of them had."""
REASONS: tuple[Reason, ...] = get_args(Reason)

USUAL_ANSWER = 128
"""Tokens that a generation is expected to sample, unless it asks for fewer."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A worker's offer to a job."""

    worker: int
    credits: int
    """Generations that the worker could take now."""
    spared: int = 0
    """Bytes of the job's prompt that need not be computed there."""
    worth: float = 0.0
    """Worth of that, in bytes to compute."""
    backlog: int = 0
    """Bytes of other prompts that are still to be computed there."""
    strangers: int = 0
    """Generations there that have other adapters, and share no step with the job."""


def neighbour(request: Generate) -> int:
    """Return the cost of running beside one more generation, in bytes of a prompt.

    While both sample, each waits for the other's tokens; a token to sample takes about as long as
    one of a prompt. Half of the other's are sampled when this one begins, so what both wait
    together is as much as one of them samples.
    """
    limit = USUAL_ANSWER if request.params.max_tokens is None else request.params.max_tokens
    return BYTES_PER_TOKEN * max(1, min(limit, USUAL_ANSWER))


def choose(
    offers: Sequence[Offer],
    neighbour: int = 1,
    home: int | None = None,
    last: int | None = None,
) -> tuple[int, Reason] | None:
    """Return a worker with a credit, and the reason for it; None if all are full.

    ``home`` keeps the job's own state: it comes first. Otherwise what a worker spares is weighed
    against what there is to do: a generation more counts like ``neighbour`` bytes to compute. Among
    equals the one that had the conversation's ``last`` turn comes first, then the one with most
    credits, then the lowest id. A job never waits for a full worker while another has a credit.
    """
    open_ = [offer for offer in offers if offer.credits > 0]
    if not open_:
        return None
    if any(offer.worker == home for offer in open_):
        assert home is not None
        return home, "home"

    def order(offer: Offer) -> tuple[float, bool, int, int]:
        total = offer.worth - offer.backlog + neighbour * (offer.credits - offer.strangers)
        return total, offer.worker == last, offer.credits, -offer.worker

    best = max(open_, key=order)
    longest = max(offer.spared for offer in offers)
    if not longest:
        return best.worker, "session" if best.worker == last else "load"
    return best.worker, "prefix" if best.spared == longest else "spill"
