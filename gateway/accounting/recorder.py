"""Counts each request when it ends: for the tables of usage, and for the budgets."""

from collections.abc import Callable

from gateway.accounting.ledger import Ledger
from gateway.core.errors import ForgeError
from gateway.core.periods import hour_of
from gateway.core.usage_counts import UsageCounts
from gateway.dispatch.budgets import Budgets
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket


class UsageRecorder:
    """Implements :class:`gateway.dispatch.observer.Observer`. It does no I/O.

    A request counts what was computed, however it ended: an answer that its client did not wait
    for, or that failed, has its prompt and the tokens so far.
    """

    def __init__(
        self, model: str, ledger: Ledger | None, budgets: Budgets, clock: Callable[[], float]
    ) -> None:
        """``model``: the model of requests that name none; an adapter counts as one by itself.

        ``ledger`` None: only budgets count.

        ``clock``: Unix seconds.
        """
        self._model, self._ledger, self._budgets, self._clock = model, ledger, budgets, clock

    def on_end(self, ticket: Ticket) -> None:
        usage, job = ticket.usage, ticket.job
        self._budgets.ended(ticket, usage.prompt + usage.completion)
        if self._ledger is not None:
            counts = UsageCounts(1, usage.prompt, usage.cached, usage.completion)
            model = job.asked or job.model or self._model
            self._ledger.add(job.owner, model, hour_of(self._clock()), counts)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """Nothing was computed."""

    def on_unparked(self, seconds: float) -> None:
        """A pause uses nothing."""

    def on_violation(self, what: str) -> None:
        """Ignore it: the dispatcher logs it."""
