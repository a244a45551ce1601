"""For operators: /health, /metrics, /workers, /queue. None of them waits behind any work."""

from collections import Counter
from itertools import islice
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.aging import NANO
from gateway.api.body import priority_text
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.errors import NotFound
from gateway.metrics import Metrics, wants_exposition
from gateway.pool import WorkerStatus
from gateway.queue import Place
from gateway.sequence import Sequence

QUEUE_SHOWN = 100
"""Waiting sequences that /queue lists one by one."""
ANONYMOUS = "anonymous"
"""The owner of requests without an API key."""


class Ops:
    """The operators' endpoints."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        dispatcher, pool = service.dispatcher, service.pool
        metrics.watch(
            "requests_waiting",
            "Sequences in the queue; a request with n > 1 has n",
            dispatcher.depth,
        )
        metrics.watch("requests_running", "Sequences with a worker", dispatcher.running)
        metrics.watch(
            "requests_paused", "Sequences that wait for their clients to read", dispatcher.paused
        )
        metrics.watch(
            "workers_ready",
            "Workers that can serve",
            lambda: sum(worker.state in ("ready", "draining") for worker in pool.workers()),
        )

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/workers", self.workers),
            Route("/queue", self.queue),
            Route("/queue/{name}", self.queued),
        ]

    async def health(self, request: Request) -> Response:
        self._service.check_serving()
        return json_response({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        accept = request.headers.get("accept", "*/*")
        if wants_exposition(accept):
            content, content_type = self._metrics.exposition(accept)
            return Response(content, media_type=content_type)
        dispatcher = self._service.dispatcher
        return json_response(self._metrics.summary(dispatcher.depth(), dispatcher.running()))

    async def workers(self, request: Request) -> Response:
        return json_response([_worker(status) for status in self._service.pool.workers()])

    async def queue(self, request: Request) -> Response:
        dispatcher = self._service.dispatcher
        now = dispatcher.now_ns()
        waiting = dispatcher.waiting()
        by_priority = Counter(sequence.priority for sequence in waiting)
        by_owner = Counter(sequence.ticket.job.owner or ANONYMOUS for sequence in waiting)
        oldest = max((now - sequence.arrived_ns for sequence in waiting), default=0)
        first = islice(dispatcher.order(), QUEUE_SHOWN)
        return json_response(
            {
                "depth": dispatcher.depth(),
                "by_priority": {
                    priority_text(priority): by_priority[priority]
                    for priority in sorted(by_priority, reverse=True)
                },
                "by_owner": dict(by_owner.most_common()),
                "oldest_wait_s": round(oldest / NANO, 3),
                "estimated_wait_s": _seconds(dispatcher.wait_estimate_s(len(waiting))),
                "waiting": [self._place(*found, ahead, now) for ahead, found in enumerate(first)],
            }
        )

    async def queued(self, request: Request) -> Response:
        """Where one waiting request stands; the first of its sequences, if it has several."""
        name, now = request.path_params["name"], self._service.dispatcher.now_ns()
        for ahead, (place, sequence) in enumerate(self._service.dispatcher.order()):
            if sequence.ticket.request_id == name:
                return json_response(self._place(place, sequence, ahead, now))
        raise NotFound(f"no request {name} is waiting")

    def _place(self, place: Place, sequence: Sequence, ahead: int, now_ns: int) -> dict[str, Any]:
        dispatcher = self._service.dispatcher
        return {
            "id": sequence.ticket.request_id,
            "choice": sequence.index,
            "position": ahead + 1,
            "owner": sequence.ticket.job.owner or ANONYMOUS,
            "priority": place.priority,
            "effective_priority": round(dispatcher.effective(place, now_ns), 6),
            "waited_s": round((now_ns - sequence.arrived_ns) / NANO, 3),
            "parked": sequence.parked_since_ns is not None,
            "deaths": sequence.deaths,
            "estimated_wait_s": _seconds(dispatcher.wait_estimate_s(ahead)),
        }


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _worker(status: WorkerStatus) -> dict[str, Any]:
    """One flat object: the load's counters beside the worker's own fields."""
    fields = {field: getattr(status, field) for field in WorkerStatus.__slots__}
    load = fields.pop("load")
    return {**fields, **msgspec.structs.asdict(load)}
