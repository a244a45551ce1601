"""More work than slots: bounds, deadlines and preemption, with real processes."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Start
from tests.support.dialects import CHAT, INFER
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.shared_servers import SharedServers
from tests.support.traffic import Queued, Streaming, occupied

ONE_SLOT = ("--workers", "1", "--slots", "1")
HOLDERS = 20
"""Jobs that wait while ``occupied`` holds the slot."""
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def tight(shared_servers: SharedServers) -> ForgeServer:
    """One slot, room for four in the queue beside those that hold the slot."""
    return shared_servers(*ONE_SLOT, "--max-queue", str(HOLDERS + 4), "--aging-rate", "0.01")


def post(server: ForgeServer, **params: Any) -> httpx.Response:
    return httpx.post(server.url + INFER.path, json=INFER.body(**params), timeout=DEADLINE_S)


def fill(server: ForgeServer, priority: float) -> list[Queued]:
    """Let jobs wait until there is no room (the slot's holders leave some now and then)."""
    jobs: list[Queued] = []
    while server.get("/queue")["depth"] < HOLDERS + 4:
        jobs.append(Queued(server, priority=priority))
    return jobs


def test_a_full_queue_refuses_at_once(tight: ForgeServer) -> None:
    with occupied(tight):
        refused = None
        for _ in range(20):
            fill(tight, priority=0)
            response = post(tight, priority=0, timeout=0.5)
            if response.status_code == 429:
                refused = response
                break
        assert refused is not None
        assert refused.json()["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-request-id"]
        assert float(refused.headers["x-queue-wait"]) == 0


def test_the_more_urgent_displaces_the_last(tight: ForgeServer) -> None:
    with occupied(tight) as release:
        batch = fill(tight, priority=0)
        urgent: list[Queued] = []
        # A holder that leaves makes room without displacing anybody, so ask until one must go.
        while batch[-1].response is None:
            urgent.append(Queued(tight, priority=2))
        displaced = batch[-1].response
        assert displaced.status_code == 429
        assert displaced.json()["code"] == "displaced"
        assert int(displaced.headers["retry-after"]) >= 1
        release()
        # Everybody else who was accepted is served.
        for job in (*urgent, *batch[:1]):
            assert job.answer()["finish_reason"] == "length"


def test_a_deadline_in_the_queue(tight: ForgeServer) -> None:
    with occupied(tight):
        cases: list[tuple[dict[str, str], dict[str, Any]]] = [
            ({}, {"timeout": 0.2}),
            ({"X-Request-Timeout": "0.2"}, {}),
        ]
        for headers, field in cases:
            body = INFER.body(**field)
            response = httpx.post(
                tight.url + INFER.path, json=body, headers=headers, timeout=DEADLINE_S
            )
            assert response.status_code == 504
            assert response.json()["code"] == "deadline_exceeded"
            assert response.json()["usage"]["total_tokens"] == 0
            assert float(response.headers["x-queue-wait"]) > 0.1


def test_a_deadline_while_generating(tight: ForgeServer) -> None:
    response = post(tight, timeout=0.3, **GREEDY)
    assert response.status_code == 504
    assert response.json()["usage"]["completion_tokens"] > 0
    stream = Streaming(tight, "count", timeout=0.3, **GREEDY)
    stream.finish()
    assert stream.error is not None
    assert stream.error.code == "deadline_exceeded"
    eventually(lambda: tight.busy() == 0, "the slot is free")
    decoded = tight.decoded()
    assert post(tight, query="again", max_tokens=1).status_code == 200
    assert tight.decoded() == decoded + 1  # nothing was computed for those that expired


def test_the_operators_queue_timeout(start_server: Start) -> None:
    server = start_server(*ONE_SLOT, "--queue-timeout", "0.3")
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        running = Streaming(server, "count", **GREEDY)
        eventually(lambda: running.pieces)
        waiting = client.post(INFER.path, json=INFER.body())
        assert waiting.status_code == 504
        running.finish()  # the limit is for waiting, not for running
        assert running.error is None


def test_bad_timeouts(tight: ForgeServer) -> None:
    for value in (0, -1, "soon", True, 1e9):
        response = post(tight, timeout=value)
        assert response.status_code == 400
        assert response.json()["param"] == "timeout"
    for header in ("0", "soon", "nan", "-1", "1e9"):
        response = httpx.post(
            tight.url + INFER.path, json=INFER.body(), headers={"X-Request-Timeout": header}
        )
        assert response.status_code == 400
        assert response.json()["param"] == "X-Request-Timeout"


def parked(server: ForgeServer) -> float:
    """Preemptions so far, from the metrics: each is told twice, when it begins and when it ends."""
    text = httpx.get(server.url + "/metrics", headers={"Accept": "text/plain"}).text
    families = text_string_to_metric_families(text)
    values = {sample.name: sample.value for family in families for sample in family.samples}
    assert values["forge_preemptions_total"] == values["forge_request_parked_time_seconds_count"]
    return values["forge_preemptions_total"]


def test_preemption_is_only_a_pause(
    exact: tuple[Path, tuple[str, ...]], start_server: Start
) -> None:
    """The text is what it would have been, and no token is computed twice."""
    model, options = exact
    server = start_server(*ONE_SLOT, "--quantum", "0", *options, model=model)
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        alone = CHAT.ask(client, "count", max_tokens=400, **GREEDY).text
    before = server.decoded()
    long = Streaming(server, "count", priority="normal", max_tokens=400, **GREEDY)
    eventually(lambda: len(long.pieces) > 5)
    assert post(server, query="hello", priority="urgent", max_tokens=3, **GREEDY).is_success
    assert not long.done  # the urgent one did not wait for it
    assert long.finish() == alone
    assert parked(server) == 1
    assert server.decoded() == before + 400 + 3


def test_no_preemption_if_it_is_off(start_server: Start) -> None:
    server = start_server(*ONE_SLOT, "--quantum", "0", "--preempt", "off")
    long = Streaming(server, "count", priority="normal", max_tokens=200, **GREEDY)
    eventually(lambda: long.pieces)
    assert post(server, query="hello", priority="urgent", max_tokens=3).is_success
    long.finish()
    assert parked(server) == 0


def test_a_parked_job_that_is_hung_up_leaves_nothing(start_server: Start) -> None:
    server = start_server(*ONE_SLOT, "--quantum", "0")
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        body = CHAT.body("count", stream=True, priority="batch", **GREEDY)
        with client.stream("POST", CHAT.path, json=body) as stream:
            lines = stream.iter_lines()  # dropping the iterator would hang up
            next(lines)
            urgent = Streaming(server, "hello", priority="urgent", **GREEDY)
            eventually(lambda: server.workers()[0]["parked"] == 1, "it is parked")
        eventually(lambda: not server.waiting(), "it left the queue")
        urgent.finish()
    eventually(lambda: server.workers()[0]["parked"] == 0 and server.busy() == 0, "it left")
    assert server.workers()[0]["cells_used"] == 0


def test_the_place_of_one_request(tight: ForgeServer) -> None:
    with occupied(tight):
        job = Queued(tight, priority=1)
        place = tight.get(f"/queue/{job.id}")
        assert place["id"] == job.id
        assert place["position"] >= HOLDERS
        assert place["estimated_wait_s"] is None or place["estimated_wait_s"] >= 0
    response = httpx.get(tight.url + "/queue/nobody")
    assert response.status_code == 404
