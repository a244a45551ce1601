"""A batch of thousands on a real server: it costs a window, and what is beside it goes on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.batch_requests import client_of, ended, line, results, send
from tests.support.killing import whole
from tests.support.server import ForgeServer, eventually
from tests.support.shared_servers import SharedServers
from tests.support.traffic import Streaming

SLOTS = 4
COUNT = 3000
MIB = 1024
LONG = {"max_tokens": 24, "ignore_eos": True}


@pytest.fixture(scope="module")
def server(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    folder: Path = tmp_path_factory.mktemp("large")
    return shared_servers("--workers", "1", "--slots", str(SLOTS), "--data-dir", str(folder))


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


def lines() -> list[dict[str, Any]]:
    made = []
    for number in range(COUNT):
        messages = [{"role": "user", "content": f"{number} " * 100}]
        made.append(line(str(number), {"messages": messages, **LONG}))
    return made


def gauges(server: ForgeServer, name: str) -> dict[str, float]:
    """Return the values of a gauge by its only label."""
    with server.client(Accept="text/plain") as http:
        text = http.get("/metrics").text
    found = re.findall(rf'^{name}\{{\w+="(\w+)"\}} (\S+)$', text, re.M)
    return {label: float(value) for label, value in found}


def memory_kib(server: ForgeServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+)", status, re.M)
    assert found is not None
    return int(found[1])


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is found in /proc")
def test_a_batch_costs_a_window(server: ForgeServer, client: openai.OpenAI) -> None:
    before = ended(client, send(client, lines()[:30]))  # what is imported and made once is there
    assert before.status == "completed"
    stream = Streaming(server, "a long story", max_tokens=500, ignore_eos=True).wait_for(5)
    small = memory_kib(server)
    batch = send(client, lines())
    eventually(lambda: client.batches.retrieve(batch.id).status == "in_progress", "it runs", 120)
    assert whole(stream), "nothing broke it off while the file was checked"
    for done in (50, 100, 150):

        def some_done(count: int = done) -> bool:
            counts = client.batches.retrieve(batch.id).request_counts
            return counts is not None and counts.completed >= count

        eventually(some_done, f"{done} lines are done")
        held = gauges(server, "forge_spare_sequences")
        assert 0 < sum(held.values()) <= 2 * SLOTS
        assert sum(gauges(server, "forge_queue_depth").values()) == 0
        waiting = gauges(server, "forge_batch_lines")["waiting"]
        now = client.batches.retrieve(batch.id).request_counts
        assert now is not None
        assert now.completed + waiting + 2 * SLOTS >= COUNT
        assert memory_kib(server) - small < 40 * MIB
    client.batches.cancel(batch.id)
    batch = ended(client, batch)
    assert batch.status == "cancelled"
    output = results(client, batch.output_file_id)
    errors = results(client, batch.error_file_id)
    assert len(output) + len(errors) == COUNT
    assert output.keys().isdisjoint(errors)
    assert memory_kib(server) - small < 60 * MIB
