"""Blows at workers, and what must be true afterwards."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.server import ForgeServer, eventually, freeze, gone
from tests.support.traffic import StreamOf

DEADLY = [signal.SIGKILL, signal.SIGABRT]
"""Signals of the system, and of llama.cpp when an assertion fails."""
SAMPLED: dict[str, Any] = {
    "temperature": 0.8,
    "seed": 7,
    "frequency_penalty": 0.7,
    "ignore_eos": True,
    "max_tokens": 200,
}


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill a worker, and wait until it is gone."""
    os.kill(pid, number)
    eventually(lambda: gone(pid), f"process {pid} ends")


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that stand still, unless they are killed meanwhile."""
    freeze(*pids)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):  # it was killed
                os.kill(pid, signal.SIGCONT)


def healthy(server: ForgeServer, restarts: int) -> None:
    """All workers serve again after so many restarts, nothing is left; and a clean end."""

    def settled() -> bool:
        workers = server.workers()
        return (
            all(worker["state"] == "ready" for worker in workers)
            and sum(worker["restarts"] for worker in workers) == restarts
        )

    eventually(settled, f"{restarts} workers are replaced")
    assert server.busy() == 0
    assert server.waiting() == []
    assert [worker["cells_used"] for worker in server.workers()] == [0] * len(server.workers())
    assert server.get("/health") == {"status": "ok"}
    server.stop()


def whole(stream: StreamOf) -> str:
    """The text of a stream that must have ended as it should."""
    text = stream.finish()
    assert (stream.status, stream.error, stream.broken) == (200, None, None)
    assert stream.done
    return text
