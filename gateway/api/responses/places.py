"""The places of waiting requests in the order of service."""

from gateway.core.clock import NANO
from gateway.served.served_model import ServedModel

AGE_NS = NANO
"""The order is made anew after a second: it costs n log n, and every waiting stream asks."""


class QueuePlaces:
    """Tells a request its place, for one model."""

    def __init__(self, served: ServedModel) -> None:
        self.served = served
        self._made_ns: int | None = None
        self._places: dict[int, int] = {}

    def position(self, id_: int) -> int | None:
        """Return the place of a ticket, from 1 on; None if it does not wait.

        What waits for workers that a reload has replaced has an order of its own.
        """
        now_ns = self.served.dispatcher.stats.now_ns()
        if self._made_ns is None or now_ns - self._made_ns >= AGE_NS:
            self._places = {}
            for dispatcher in self.served.dispatchers:
                order = (sequence.ticket_id for _, sequence in dispatcher.stats.order())
                self._places |= {each: at for at, each in enumerate(dict.fromkeys(order), 1)}
            self._made_ns = now_ns
        return self._places.get(id_)
