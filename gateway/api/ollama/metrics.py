"""The numbers at the end of an answer: tokens, and the nanoseconds that they took."""

from gateway.api.ollama.types import OllamaMetrics
from gateway.dispatch.ticket import Ticket


def load_ns(ticket: Ticket) -> int:
    """Return the time until a request that has ended had a slot: its wait, and its model's load."""
    began = ticket.ended_ns if ticket.dispatched_ns is None else ticket.dispatched_ns
    return 0 if began is None else began - ticket.arrived_ns


def total_ns(ticket: Ticket) -> int:
    """Return the time that a request took that has ended."""
    return 0 if ticket.ended_ns is None else ticket.ended_ns - ticket.arrived_ns


def metrics(ticket: Ticket) -> OllamaMetrics:
    """Return the numbers of a request that has ended.

    Clients divide the tokens of the answer by their time. The first ones come with the prompt, and
    took no time of their own: they count as long as each of the others, which the prompt's time
    pays for. If there are no others, prompt and answer share the time by their tokens.
    """
    usage, total, load = ticket.usage, total_ns(ticket), load_ns(ticket)
    worked, later = total - load, max(0, usage.completion - 1)
    first, ended = ticket.first_token_ns, ticket.ended_ns
    if first is None or ended is None:
        answered = 0
    elif later:
        answered = min(worked, (ended - first) * usage.completion // later)
    else:
        computed = usage.prompt - usage.cached + usage.completion
        answered = worked * usage.completion // max(1, computed)
    return {
        "total_duration": total,
        "load_duration": load,
        "prompt_eval_count": usage.prompt,
        "prompt_eval_cached_count": usage.cached,
        "prompt_eval_duration": worked - answered,
        "eval_count": usage.completion,
        "eval_duration": answered,
    }
