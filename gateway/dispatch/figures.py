"""A request that has ended, in numbers: for its line of log, and its capture."""

from typing import Any

from gateway.core.clock import NANO
from gateway.dispatch.ticket import Ticket


def figures(ticket: Ticket) -> dict[str, Any]:
    """Return the times, counts and speeds of a ticket that has ended. Times are in seconds."""
    usage, arrived = ticket.usage, ticket.arrived_ns
    started, first, ended = ticket.dispatched_ns, ticket.first_token_ns, ticket.ended_ns
    prefill = None
    if started is not None and first is not None and first > started:
        prefill = (usage.prompt - usage.cached) * NANO / (first - started)
    parked = sum(sequence.parked_ns for sequence in ticket.sequences)
    return {
        "sequences": len(ticket.sequences),
        "queue_wait_s": _rounded(None if started is None else (started - arrived) / NANO),
        "ttft_s": _rounded(None if first is None else (first - arrived) / NANO),
        "e2e_s": _rounded(None if ended is None else (ended - arrived) / NANO),
        "parked_s": _rounded(parked / NANO),
        "prompt_tokens": usage.prompt,
        "cached_tokens": usage.cached,
        "generation_tokens": usage.completion,
        "prompt_tokens_per_second": _rounded(prefill),
        "generation_tokens_per_second": _rounded(ticket.tokens_per_second),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6 if value < 1 else 3)
