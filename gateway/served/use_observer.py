"""The ends of requests as uses of their models, which keep those loaded for a while."""

from collections.abc import Callable

from gateway.core.errors import ForgeError
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket


class UseObserver:
    """Tells the loader. Implements :class:`gateway.dispatch.observer.Observer`."""

    def __init__(self, used: Callable[[str, str, float | None], None], first: str) -> None:
        """``used`` takes model, client and the keep_alive that was asked for in seconds.

        ``first``: the model of requests that name none.
        """
        self._used = used
        self._first = first

    def on_end(self, ticket: Ticket) -> None:
        job = ticket.job
        if job.spare:
            return  # it keeps no model for its client
        self._used(job.model or self._first, job.client, job.keep_alive)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        pass  # it never used the model

    def on_unparked(self, seconds: float) -> None:
        pass

    def on_violation(self, what: str) -> None:
        pass
