"""Ends of requests are uses of their models."""

from gateway.core.errors import Unavailable
from gateway.dispatch.ticket import Ticket
from gateway.served.use_observer import UseObserver
from tests.support.memory_pool import job


def test_an_end_is_a_use() -> None:
    used: list[tuple[str, str, float | None]] = []
    observer = UseObserver(lambda *use: used.append(use), "first")
    observer.on_end(Ticket(1, job(model="a", client="x", keep_alive=3.0), 0))
    observer.on_end(Ticket(2, job(client="y"), 0))
    observer.on_end(Ticket(3, job(client="z", spare=True), 0))
    observer.on_refused(job(model="b"), Unavailable("no"))
    assert used == [("a", "x", 3.0), ("first", "y", None)]
