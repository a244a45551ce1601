"""A look at everything that the page shows. No prompt and no answer is in it."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

from gateway.core.clock import NANO
from gateway.core.errors import ForgeError
from gateway.core.priority import CLASSES, class_of
from gateway.dashboard.deltas import Row, Snapshot
from gateway.dashboard.history import Gaps, Recorder, row
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.pool import WorkerStatus
from gateway.served.registry import ModelRegistry, Standing
from gateway.served.served_model import ServedModel

LISTED = 60
"""Waiting sequences that are shown one by one; of the others the number."""
RECENT = 30
"""Requests in the table."""


class View:
    """Looks.

    Implements :class:`gateway.dispatch.observer.Observer`, to remember the requests that ended.
    """

    def __init__(self, registry: ModelRegistry, gaps: Callable[[], Gaps] | None) -> None:
        """``gaps``: how to read the histogram of inter-token latencies, if there is one."""
        self._registry = registry
        self._gaps = gaps
        self._recorder = Recorder()
        self._origin_ns = registry.now_ns()

    def now_s(self) -> float:
        """The time on the clock of all that is shown."""
        return self._s(self._registry.now_ns())

    def look(self) -> Snapshot:
        """Return the present state; O(n log n) in what waits."""
        now = self._registry.now_ns()
        workers = self._registry.workers()
        if self._recorder.due(now):
            tokens = {worker.id: worker.load.decode_tokens for _, worker in workers}
            gaps = None if self._gaps is None else self._gaps()
            self._recorder.point(now, self._origin_ns, tokens, gaps)
        listed = islice(self._registry.order(), LISTED)
        recent = list(islice(reversed(self._recorder.requests), RECENT))
        kinds = {each.id: class_of(each.priority) for each in self._registry.served()}
        tables: dict[str, list[Row]] = {
            "jobs": [self._job(found) for found in listed],
            "workers": [_worker(served, worker, kinds) for served, worker in workers],
            "requests": [row(request, self._origin_ns) for request in reversed(recent)],
            "points": list(self._recorder.points),
        }
        return Snapshot(self._facts(workers), tables)

    def _facts(self, workers: list[tuple[ServedModel, WorkerStatus]]) -> Row:
        registry = self._registry
        depth = Counter(class_of(each.priority) for each in registry.waiting())
        up = [worker for _, worker in workers if worker.state in ("ready", "draining")]
        return {
            "waiting": registry.depth(),
            **{f"waiting_{kind}": depth[kind] for kind in CLASSES},
            "running": registry.running(),
            "slots": sum(worker.slots for worker in up),
            "preemptions": registry.preemptions(),
            "failovers": registry.failovers(),
            "draining": registry.draining,
        }

    def _job(self, found: Standing) -> Row:
        """A sequence that waits. Between two looks it ages by the rate, unless it is spare; the
        page does that."""
        place, sequence = found.entry, found.sequence
        return {
            "id": sequence.id,
            "name": found.stats.request_id(sequence),
            "model": found.model.name,
            "class": class_of(place.priority),
            "priority": place.priority,
            "placed": self._s(place.arrived_ns),
            "arrived": self._s(sequence.arrived_ns),
            "owner": sequence.job.owner,
            "parked": sequence.parked_since_ns is not None,
            "spare": sequence.job.spare,
            "tokens": len(sequence.ids),
        }

    def _s(self, moment_ns: int) -> float:
        return round((moment_ns - self._origin_ns) / NANO, 3)

    # ----------------------------------------------------------- gateway.dispatch.observer.Observer

    def on_end(self, ticket: Ticket) -> None:
        """Remember a request."""
        self._recorder.add(ticket)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """Ignore it: it never was a request with a number."""

    def on_unparked(self, seconds: float) -> None:
        """Ignore it: it is seen in the queue while it lasts."""

    def on_violation(self, what: str) -> None:
        """The dispatcher logs it."""


def _worker(served: ServedModel, status: WorkerStatus, kinds: dict[int, str]) -> dict[str, Any]:
    """``kinds``: the class of each sequence that has a slot. A slot that winds up has none."""
    load, model = status.load, served.pool.model
    return {
        "id": status.id,
        "model": served.name,
        "cells": 0 if model is None else model.n_ctx,
        "pid": status.pid,
        "node": status.node,
        "download": None if status.download is None else list(status.download),
        "state": status.state,
        "slots": status.slots,
        "held": [[id_, kinds.get(id_, "")] for id_ in status.held],
        "restarts": status.restarts,
        "cells_used": load.cells_used,
        "host_bytes": load.host_bytes,
        "step_ms": round(load.step_ms, 2),
        "tokens": load.decode_tokens,
    }
