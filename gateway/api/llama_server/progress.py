"""The progress of a prompt, which llama-server tells while a stream has no token yet."""

from collections.abc import Callable

from gateway.api.llama_server.types import ReadProgress
from gateway.core.clock import NANO
from gateway.dispatch.ticket import ClientEvent, Ticket
from workers.protocol import Finished, Started

MS = NANO / 1000


class PromptProgress:
    """One sequence's prompt: from events to what is told of it, which only grows."""

    def __init__(self, ticket: Ticket, index: int, now_ns: Callable[[], int]) -> None:
        self._ticket = ticket
        self._index = index
        self._now_ns = now_ns
        self._told = -1
        """Tokens that were told to be computed."""
        self.elapsed_ms = 0.0
        """Time from the request's slot to the last event that was told."""

    def take(self, event: ClientEvent) -> ReadProgress | None:
        """Return what is to be told after an event, if that says more than the last one did."""
        started = self._ticket.sequences[self._index].started
        if started is None:
            return None
        cached, total = started.cached_tokens, started.prompt_tokens
        if isinstance(event, Started):
            done = cached
        elif event.ids or isinstance(event, Finished):
            done = total
        elif event.extra is not None and event.extra.progress:
            done = event.extra.progress
        else:
            return None
        if done <= self._told:  # another worker begins anew
            return None
        self._told = done
        began = self._ticket.dispatched_ns
        self.elapsed_ms = 0.0 if began is None else (self._now_ns() - began) / MS
        time_ms = int(self.elapsed_ms)
        return {"total": total, "cache": cached, "processed": done, "time_ms": time_ms}
