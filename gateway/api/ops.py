"""For operators: /health, /metrics, /workers, /queue. None of them waits behind any work."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, NoReturn

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api.endpoint import JSON, Endpoint, Handler
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.core.api_key import ApiKey
from gateway.core.clock import NANO
from gateway.core.errors import NotFound, NotOffered, Unavailable
from gateway.core.priority import priority_text
from gateway.dispatch.stats import DispatcherStats
from gateway.pool import Download, FileState, WorkerState, WorkerStatus
from gateway.served.registry import Standing
from gateway.telemetry.metrics import Metrics, Summary
from gateway.telemetry.metrics.registry import wants_exposition

QUEUE_SHOWN = 100
"""Waiting sequences that /queue lists one by one."""
ANONYMOUS = "anonymous"
"""The owner of requests without an API key."""


GROUP = "Operators"


class Health(TypedDict):
    status: Literal["ok"]


class DownloadItem(TypedDict):
    """A file of the model that comes to a node of a cluster."""

    file: str
    done: int
    """Bytes that are there."""
    total: int | None
    """All of them; null if that is not known."""


class WorkerItem(TypedDict):
    """One worker, and its load as of its last step."""

    id: int
    model: str
    """The one that it computes."""
    pid: int | None
    """Its process; null while there is none."""
    state: WorkerState
    slots: int
    """Sequences that it takes at once."""
    busy: int
    """Slots in use."""
    restarts: int
    questions: int
    """Of tokens and templates, that it has not answered."""
    steps: int
    """Decode steps since its start."""
    prefill_tokens: int
    """Tokens of prompts that it computed."""
    decode_tokens: int
    """Tokens that it sampled."""
    running: int
    parked: int
    """Sequences that gave up their slots for a while; what they computed is in host memory."""
    cells_used: int
    """KV cells, of one token each, of running sequences."""
    step_ms: float
    """Duration of the last step."""
    host_bytes: int
    """Host memory of prefixes for prompts to come, and of what parked sequences computed."""
    host_room: int
    """Tokens that it holds when it is full, by the size of those it has; 0 before the first."""
    restored_tokens: int
    """Tokens that came back from there since its start, instead of being computed."""
    step_sequences: int
    """Sequences in each of its steps, added up: over `steps`, how many one has."""
    model_file: FileState
    """Its model's file: unless it is the same as when the model was loaded, the old one is served
    until the model is unloaded and loaded."""
    node: str | None
    """The machine of a cluster that it runs on; null: the server's own, or none yet."""
    address: str | None
    """The address of that machine."""
    download: DownloadItem | None
    """The file that the machine gets before the worker can start; null: none."""


class QueueItem(TypedDict):
    """A sequence that waits, and its place."""

    id: str
    """The request's name, as in ``X-Request-Id``."""
    choice: int
    """Number of the sequence among the request's."""
    position: int
    """1 is next."""
    model: str
    """The one that it waits for."""
    owner: str
    """The name of the API key."""
    priority: float
    effective_priority: float
    """With what waiting has added."""
    waited_s: float
    parked: bool
    """True: it has run before and was made to wait."""
    spare: bool
    """True: it is a batch's, and takes only slots that nothing else wants."""
    deaths: int
    """Workers that died with it since its last token."""
    estimated_wait_s: float | None
    """Null before anything was served, and for a spare one."""


class QueueStatus(TypedDict):
    depth: int
    """Sequences that wait; a request with ``n`` has several."""
    by_priority: dict[str, int]
    by_owner: dict[str, int]
    by_model: dict[str, int]
    oldest_wait_s: float
    estimated_wait_s: float | None
    """Of one that came now; null before anything was served."""
    waiting: list[QueueItem]
    """The first hundred, in their order."""


class Ops:
    """The operators' endpoints."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    def endpoints(self) -> list[Endpoint]:
        return [
            # For load balancers, which have no key. It tells nothing but whether the server serves.
            _get("/health", self.health, {JSON: Health}, fails=(Unavailable,), open=True),
            self._metrics_endpoint(),
            _get("/workers", self.workers, {JSON: list[WorkerItem]}),
            _get("/queue", self.queue, {JSON: QueueStatus}),
            _get(
                "/queue/{name}",
                self.queued,
                {JSON: QueueItem},
                fails=(NotFound,),
                parameters={"name": "A request's name, as in the header `X-Request-Id`."},
            ),
        ]

    def _metrics_endpoint(self) -> Endpoint:
        if not self._service.config.metrics:
            return _get("/metrics", self.no_metrics, {JSON: Summary}, fails=(NotOffered,))
        kinds = {JSON: Summary, "text/plain": str, "application/openmetrics-text": str}
        return _get("/metrics", self.metrics, kinds)

    async def no_metrics(self, request: Request) -> NoReturn:
        """Refuse: nothing is counted."""
        raise NotOffered("this server counts nothing: it was started with --no-metrics")

    async def health(self, request: Request) -> Response:
        """Tell if requests are served.

        Needs no API key.
        """
        self._service.check_healthy()
        answer: Health = {"status": "ok"}
        return json_response(answer)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics so far.

        JSON, or Prometheus' and OpenMetrics' text for an `Accept` that asks for it. A key that is
        limited to some models gets the series of those, and sums over all.
        """
        accept = request.headers.get("accept", "*/*")
        as_llama_server = self._service.config.llamacpp_metrics
        if wants_exposition(accept, usual=as_llama_server):
            key: ApiKey = request.state.key
            hidden = [each for each in self._metrics.labels.names if not key.may_use(each)]
            content, content_type = self._metrics.registry.exposition(accept, hidden)
            started = {"Process-Start-Time-Unix": str(self._service.started)}
            headers = started if as_llama_server else None
            return Response(content, media_type=content_type, headers=headers)
        registry = self._service.registry
        return json_response(self._metrics.summary(registry.depth(), registry.running()))

    async def workers(self, request: Request) -> Response:
        """The worker processes. A key that is limited to some models sees theirs."""
        seen = self._service.models(request)
        return json_response(
            [
                _worker(served.name, status)
                for served, status in self._service.registry.workers()
                if served in seen
            ]
        )

    async def queue(self, request: Request) -> Response:
        """The waiting requests, in the order in which they would be served."""
        registry = self._service.registry
        now = registry.now_ns()
        waiting = registry.waiting()
        by_priority = Counter(sequence.priority for sequence in waiting)
        by_owner = Counter(sequence.job.owner or ANONYMOUS for sequence in waiting)
        oldest = max((now - sequence.arrived_ns for sequence in waiting), default=0)
        seen = self._service.models(request)
        first = (found for found in _placed(registry.order()) if found[2].model in seen)
        answer: QueueStatus = {
            "depth": registry.depth(),
            "by_priority": {
                priority_text(priority): by_priority[priority]
                for priority in sorted(by_priority, reverse=True)
            },
            "by_owner": dict(by_owner.most_common()),
            "by_model": {
                served.name: sum(each.stats.depth() for each in served.dispatchers)
                for served in seen
            },
            "oldest_wait_s": round(oldest / NANO, 3),
            "estimated_wait_s": _seconds(registry.wait_estimate_s()),
            "waiting": [_standing(*found, now) for found in islice(first, QUEUE_SHOWN)],
        }
        return json_response(answer)

    async def queued(self, request: Request) -> Response:
        """Return one waiting request's place in the queue.

        Of several sequences it is the first. A request that does not wait is a 404.
        """
        registry = self._service.registry
        name, now = request.path_params["name"], registry.now_ns()
        seen = self._service.models(request)
        for found in _placed(registry.order()):
            standing = found[2]
            if standing.stats.request_id(standing.sequence) == name and standing.model in seen:
                return json_response(_standing(*found, now))
        raise NotFound(f"no request {name} is waiting")


def _placed(order: Iterable[Standing]) -> Iterator[tuple[int, int, Standing]]:
    """With each, how many are before it: of all, and of those at the same dispatcher."""
    before = Counter[DispatcherStats]()
    for ahead, standing in enumerate(order):
        yield ahead, before[standing.stats], standing
        before[standing.stats] += 1


def _standing(ahead: int, ahead_there: int, standing: Standing, now_ns: int) -> QueueItem:
    stats, place, sequence = standing.stats, standing.entry, standing.sequence
    return {
        "id": stats.request_id(sequence),
        "choice": sequence.index,
        "position": ahead + 1,
        "model": standing.model.name,
        "owner": sequence.job.owner or ANONYMOUS,
        "priority": place.priority,
        "effective_priority": round(stats.effective(place, now_ns), 6),
        "waited_s": round((now_ns - sequence.arrived_ns) / NANO, 3),
        "parked": sequence.parked_since_ns is not None,
        "spare": sequence.job.spare,
        "deaths": stats.deaths(sequence),
        "estimated_wait_s": None
        if sequence.job.spare
        else _seconds(stats.wait_estimate_s(ahead_there)),
    }


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _get(path: str, handler: Handler, answers: Mapping[str, Any], **more: Any) -> Endpoint:
    return Endpoint(
        path=path, handler=handler, group=GROUP, answers=answers, failure=ErrorBody, **more
    )


def _download(download: Download) -> DownloadItem:
    return {"file": download.file, "done": download.done, "total": download.total}


def _worker(model: str, status: WorkerStatus) -> WorkerItem:
    """One flat object: the load's counters beside the worker's own fields."""
    load = status.load
    return {
        "id": status.id,
        "model": model,
        "pid": status.pid,
        "state": status.state,
        "slots": status.slots,
        "busy": status.busy,
        "restarts": status.restarts,
        "questions": status.questions,
        "steps": load.steps,
        "prefill_tokens": load.prefill_tokens,
        "decode_tokens": load.decode_tokens,
        "running": load.running,
        "parked": load.parked,
        "cells_used": load.cells_used,
        "step_ms": load.step_ms,
        "host_bytes": load.host_bytes,
        "host_room": load.host_room,
        "restored_tokens": load.restored_tokens,
        "step_sequences": load.step_sequences,
        "model_file": status.model_file,
        "node": status.node,
        "address": status.address,
        "download": None if status.download is None else _download(status.download),
    }
