"""The present state as it is scraped: workers in all their states, and what they hold."""

from gateway.pool import WorkerStatus
from gateway.telemetry.metrics.exposition import render
from gateway.telemetry.metrics.state import QueueGauges
from tests.support.desk import Desk
from tests.support.memory_pool import job
from workers.protocol import Load, ModelInfo

BUSY = Load(cells_used=10, step_ms=2.5, host_bytes=100, restored_tokens=7)
WORKERS = [
    WorkerStatus(0, 11, "ready", slots=4, busy=3, restarts=2, load=BUSY),
    WorkerStatus(1, 12, "draining", slots=4, busy=1, restarts=0, load=BUSY),
    WorkerStatus(2, None, "dead", slots=4, busy=0, restarts=5, load=Load()),
    WorkerStatus(3, 14, "starting", slots=4, busy=0, restarts=1, load=Load()),
]
EXPECTED = """
forge_slots 8.0
forge_slots_busy 4.0
forge_kv_cells_used 20.0
forge_host_cache_bytes 200.0
forge_host_cache_restored_tokens 14.0
forge_workers{state="starting"} 1.0
forge_workers{state="ready"} 1.0
forge_workers{state="draining"} 1.0
forge_workers{state="dead"} 1.0
forge_workers_ready 2.0
forge_worker_restarts_total 8.0
forge_step_seconds{worker="0"} 0.0025
forge_step_seconds{worker="2"} 0.0
forge_queue_depth{class="normal"} 1.0
forge_queue_depth{class="batch"} 0.0
forge_oldest_wait_seconds{class="normal"} 3.0
forge_oldest_wait_seconds{class="batch"} 0.0
forge_requests_waiting 1.0
forge_spare_sequences{state="waiting"} 2.0
forge_spare_sequences{state="running"} 0.0
"""


def test_a_look_at_everything() -> None:
    desk = Desk(1)
    desk.pool.model = ModelInfo("m", "", 0, 0, 9, 64, 64, 64, 9, n_embd=1)
    desk.pool.workers = lambda: WORKERS  # type: ignore[method-assign]

    async def script() -> None:
        desk.submit()
        await desk.settle()
        desk.submit()  # it waits
        desk.dispatcher.submit(job(0.0, spare=True, n=2))
        desk.clock.now = 3 * 10**9
        lines = render(QueueGauges(desk.registry).collect(), openmetrics=False).decode()
        assert set(EXPECTED.split("\n")) <= {"", *lines.split("\n")}
        assert "forge_kv_cells 128.0\n" in lines, "of those that are up"

    desk.run(script)
