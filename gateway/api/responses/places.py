"""The places of waiting requests in the order of service."""

from gateway.core.clock import NANO
from gateway.dispatch.stats import DispatcherStats

AGE_NS = NANO
"""The order is made anew after a second: it costs n log n, and every waiting stream asks."""


class QueuePlaces:
    """Tells a request its place, for one model."""

    def __init__(self, stats: DispatcherStats) -> None:
        self._stats = stats
        self._made_ns: int | None = None
        self._places: dict[int, int] = {}

    def position(self, id_: int) -> int | None:
        """Return the place of a ticket, from 1 on; None if it does not wait."""
        now_ns = self._stats.now_ns()
        if self._made_ns is None or now_ns - self._made_ns >= AGE_NS:
            order = (sequence.ticket_id for _, sequence in self._stats.order())
            self._places = {each: at for at, each in enumerate(dict.fromkeys(order), 1)}
            self._made_ns = now_ns
        return self._places.get(id_)
