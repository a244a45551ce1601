"""Gauges of queues, pools and the process, read at each scrape and not before."""

import contextlib
import mmap
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from gateway.core.clock import NANO
from gateway.core.priority import CLASSES, class_of
from gateway.pool import WorkerState, WorkerStatus
from gateway.served.registry import ModelRegistry
from gateway.served.served_model import ServedModel
from gateway.telemetry.metrics.exposition import Family, Kind, series

_STATM = Path("/proc/self/statm")
STATES: tuple[str, ...] = get_args(WorkerState)
UP = ("ready", "draining")


class QueueGauges:
    """Queues and pools. One scrape is O(n) in the sequences that wait."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        """Yield all gauges of queues and pools."""
        yield from self._queue()
        yield from self._work()
        found = self._registry.workers()
        workers = [status for _, status in found]
        yield from _slots(workers)
        yield from _cells(found)
        yield from _workers(workers, self._registry)
        yield _labelled(
            "counter",
            "placements",
            "Sequences given to a worker, by the reason for that worker: the sequence was parked "
            "there; most of its prompt is cached there; the worker with most of it has too much "
            "to do; it has least to do",
            "reason",
            self._registry.placements(),
        )

    def _queue(self) -> Iterator[Family]:
        """Yield the length of the queue and its oldest wait, by class; spare sequences apart."""
        now = self._registry.now_ns()
        arrivals: dict[str, list[int]] = {kind: [] for kind in CLASSES}
        for sequence in self._registry.waiting():
            if sequence.job.spare:
                continue  # what waits until nothing else does tells nothing about the load
            arrivals[class_of(sequence.priority)].append(sequence.arrived_ns)
        depth = {kind: len(of_kind) for kind, of_kind in arrivals.items()}
        waits = {
            kind: (now - min(of_kind, default=now)) / NANO for kind, of_kind in arrivals.items()
        }
        text = "Sequences in the queue; a request with n > 1 has n"
        yield _labelled("gauge", "queue_depth", text, "class", depth)
        text = "How long the oldest in the queue has waited; 0 if the queue is empty"
        yield _labelled("gauge", "oldest_wait_seconds", text, "class", waits)
        text = "Sequences in the queue, whatever their class"
        yield _gauge("requests_waiting", text, sum(depth.values()))
        text = "Sequences of batches, which take only slots that nothing else wants"
        spare = {
            "waiting": self._registry.spare_depth(),
            "running": self._registry.spare_running(),
        }
        yield _labelled("gauge", "spare_sequences", text, "state", spare)

    def _work(self) -> Iterator[Family]:
        registry = self._registry
        yield _gauge("requests_running", "Sequences with a worker", registry.running())
        text = "Sequences that wait for their clients to read"
        yield _gauge("requests_paused", text, registry.paused())
        text = "Sequences that were parked for more urgent ones"
        yield _counter("preemptions", text, registry.preemptions())
        text = "Sequences put back because their workers died"
        yield _counter("failovers", text, registry.failovers())


class Process:
    """Metrics of the gateway's process, under the names that all programs use.

    prometheus_client also counts open files: half a millisecond for each thousand connections.
    """

    def collect(self) -> Iterator[Family]:
        """Yield the CPU time of the process and, on Linux, its memory."""
        name, text = "process_cpu_seconds", "CPU time of the gateway, user and system"
        yield Family(name, "counter", text, [(f"{name}_total", time.process_time())])
        with contextlib.suppress(OSError):
            pages = int(_STATM.read_text().split()[1])
            name, text = "process_resident_memory_bytes", "Memory of the gateway"
            yield Family(name, "gauge", text, [(name, pages * mmap.PAGESIZE)])


def _slots(workers: list[WorkerStatus]) -> Iterator[Family]:
    up = [worker for worker in workers if worker.state in UP]
    text = "Sequences that the workers take at once"
    yield _gauge("slots", text, sum(worker.slots for worker in up))
    yield _gauge("slots_busy", "Slots in use", sum(worker.busy for worker in workers))


def _cells(workers: list[tuple[ServedModel, WorkerStatus]]) -> Iterator[Family]:
    """Yield the use of the KV cache and of the host memory behind it."""
    models = [served.pool.model for served, worker in workers if worker.state in UP]
    loads = [worker.load for _, worker in workers]
    cells = sum(model.n_ctx for model in models if model is not None)
    yield _gauge("kv_cells", "KV cells, of one token each", cells)
    text = "KV cells of sequences that run"
    yield _gauge("kv_cells_used", text, sum(load.cells_used for load in loads))
    text = "Host memory of prefixes for later prompts, and of parked sequences"
    yield _gauge("host_cache_bytes", text, sum(load.host_bytes for load in loads))
    text = "Tokens copied back from host memory since the workers' start"
    restored = sum(load.restored_tokens for load in loads)
    yield _gauge("host_cache_restored_tokens", text, restored)


def _workers(workers: list[WorkerStatus], registry: ModelRegistry) -> Iterator[Family]:
    states = dict.fromkeys(STATES, 0)
    for worker in workers:
        states[worker.state] += 1
    yield _labelled("gauge", "workers", "Workers by state", "state", states)
    text = "Workers that can serve"
    yield _gauge("workers_ready", text, states["ready"] + states["draining"])
    text = "Worker processes started to replace others"
    yield _counter("worker_restarts", text, registry.restarts())
    text = "Workers that can serve on each node of a cluster; none without --cluster"
    nodes = Counter(worker.node for worker in workers if worker.node and worker.state in UP)
    yield _labelled(
        "gauge", "node_workers", text, "node", {f"{name}": nodes[name] for name in nodes}
    )
    text = "Duration of each worker's last decode step"
    steps = {str(number): 0.0 for number in registry.worker_numbers()}
    steps |= {str(worker.id): worker.load.step_ms / 1000 for worker in workers}
    yield _labelled("gauge", "step_seconds", text, "worker", steps)


def _gauge(name: str, text: str, value: float) -> Family:
    return Family(f"forge_{name}", "gauge", text, [(f"forge_{name}", value)])


def _counter(name: str, text: str, value: float) -> Family:
    return Family(f"forge_{name}", "counter", text, [(f"forge_{name}_total", value)])


def _labelled(kind: Kind, name: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    whole = f"forge_{name}_total" if kind == "counter" else f"forge_{name}"
    samples = [(series(whole, {label: value}), number) for value, number in values.items()]
    return Family(f"forge_{name}", kind, text, samples)
