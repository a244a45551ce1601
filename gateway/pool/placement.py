"""Placement: the choice of a worker for the next job. Pure.

Each worker with a free slot (a credit) makes an offer, in bytes of prompt to compute. It counts
for the worker what its cache spares the job (``worth``: bytes that generations running there use
at the same time are divided by all their users), against it the other prompts that it has still
to compute (``backlog``), and for it :func:`neighbour` bytes per free slot. The largest sum takes
the job; a worker on which the job is parked comes before all sums. A job never waits for a full
worker while another has a free slot.

For example, a prompt has 8,000 bytes and at most 128 tokens are sampled, so a neighbour costs
128 * 4 = 512 bytes. Worker 0 has cached 6,000 of the bytes, and 3 of its 4 slots are free; worker 1
has cached none, and all 4 are free. The sums are 6,000 + 3 * 512 = 7,536 and 4 * 512 = 2,048:
worker 0 takes the job ("prefix"). If worker 0 has 6,000 bytes of other prompts to compute, its sum
is 1,536, and worker 1 takes it ("spill"). If neither has cached any of it, the sums are 1,536 and
2,048: worker 1 takes it ("load").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.core.prompt_size import BYTES_PER_TOKEN
from workers.protocol import Generate

Reason = Literal["home", "prefix", "spill", "load"]
"""The reason for a worker: the job was parked there; most of its prompt is cached there; another
worker has cached more of it, but has too much to do or no credit; no worker has cached any of it,
and this one has least to do."""
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
    """The worth of ``spared``, in bytes to compute; shared bytes are divided by their users."""
    backlog: int = 0
    """Bytes of other prompts that are still to be computed there."""


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
    """Return a worker with a credit, and the reason for it; None if all are full.

    ``home`` has the job's own cells: it comes first. Otherwise what a worker spares is weighed
    against what there is to do: a generation more counts like ``neighbour`` bytes to compute. Among
    equals the one with most credits comes first, and then the lowest id. A job never waits for a
    full worker while another has a credit.
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
