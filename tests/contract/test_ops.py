"""Views of operators: /health, /metrics, /workers, /queue."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics

from tests.support.dialects import COMPLETIONS, INFER
from tests.support.server import ForgeServer


def shape(value: Any) -> Any:
    """A JSON value without its numbers."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_health(front: httpx.Client) -> None:
    response = front.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_metrics(http: httpx.Client) -> None:
    before = http.get("/metrics").json()["requests"]
    INFER.ask(http, "hello")
    metrics = http.get("/metrics").json()
    after = metrics["requests"]
    assert metrics["queue_depth"] == 0
    assert 0 < metrics["p50_latency_ms"] <= metrics["p99_latency_ms"]
    assert after["finished"] == before["finished"] + 1
    assert after["total"] == after["finished"] + after["failed"] + after["cancelled"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, */*;q=0.5"])
def test_metrics_are_json_unless_asked(http: httpx.Client, accept: str) -> None:
    response = http.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"] == "application/json"
    assert {"queue_depth", "p99_latency_ms"} <= response.json().keys()


def test_prometheus(http: httpx.Client) -> None:
    response = http.get("/metrics", headers={"Accept": "text/plain"})
    assert response.headers["content-type"].startswith("text/plain; version=")
    parse: Callable[[str], Iterable[Metric]] = parser.text_string_to_metric_families
    families = {family.name: family for family in parse(response.text)}
    values = {s.name: s.value for family in families.values() for s in family.samples}
    assert families["forge_requests"].type == "counter"
    assert families["forge_time_to_first_token_seconds"].type == "histogram"
    assert values["forge_workers_ready"] == 2
    assert values["forge_requests_waiting"] == 0
    assert values["forge_requests_running"] == 0
    assert values["forge_generation_tokens_total"] >= 0
    assert values["forge_host_cache_bytes"] > 0
    assert values["forge_host_cache_restored_tokens"] >= 0
    assert families["forge_event_loop_lag_seconds"].type == "histogram"
    assert values["forge_event_loop_lag_seconds_count"] > 0, "it looks all the time"
    assert values["forge_event_loop_lag_max_seconds"] >= 0
    assert values["process_cpu_seconds_total"] > 0
    assert sys.platform != "linux" or values["process_resident_memory_bytes"] > 10**6


def test_openmetrics(http: httpx.Client) -> None:
    accept = "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"
    response = http.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    parse: Callable[[str], Iterable[Metric]] = openmetrics.text_string_to_metric_families
    names = {family.name for family in parse(response.text)}
    assert {"forge_requests", "forge_e2e_request_latency_seconds"} <= names


def sizes(http: httpx.Client) -> tuple[Any, int]:
    """The shape of the JSON, and the lines of the exposition."""
    exposition = http.get("/metrics", headers={"Accept": "text/plain"})
    return shape(http.get("/metrics").json()), len(exposition.text.splitlines())


def test_metrics_do_not_grow(http: httpx.Client) -> None:
    """The same size after more requests: nothing is kept per request."""
    INFER.ask(http, max_tokens=2)
    before = sizes(http)
    for number in range(50):
        COMPLETIONS.ask(http, f"number {number}", max_tokens=1)
    assert sizes(http) == before


def test_workers(server: ForgeServer, http: httpx.Client) -> None:
    INFER.ask(http, "hello")
    workers = http.get("/workers").json()
    assert [worker["id"] for worker in workers] == [0, 1]
    assert len({worker["pid"] for worker in workers} | {server.process.pid}) == 3
    for worker in workers:
        assert (worker["state"], worker["slots"], worker["busy"]) == ("ready", 4, 0)
        assert worker["restarts"] == 0
        assert worker["restored_tokens"] >= 0
        assert worker["host_bytes"] >= 0
    assert sum(worker["decode_tokens"] for worker in workers) > 0
    # At rest no sequence has cells: prefixes are in host memory.
    assert all(worker["running"] == worker["cells_used"] == 0 for worker in workers)


def test_empty_queue(front: httpx.Client) -> None:
    queue = front.get("/queue").json()
    estimate = queue.pop("estimated_wait_s")
    assert estimate is None or estimate >= 0
    assert queue == {
        "depth": 0,
        "by_priority": {},
        "by_owner": {},
        "by_model": {"forge-tiny": 0},
        "oldest_wait_s": 0.0,
        "waiting": [],
    }


@pytest.mark.parametrize("path", ["/health", "/metrics", "/workers", "/queue", "/v1/models"])
def test_head(front: httpx.Client, path: str) -> None:
    response = front.head(path)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("GET", "/nowhere"), ("PUT", "/infer"), ("POST", "/infer")],
)
def test_every_response_names_its_request_and_its_wait(
    http: httpx.Client, method: str, path: str
) -> None:
    headers = http.request(method, path).headers
    assert len(headers["x-request-id"]) == 24
    assert headers["x-queue-wait"] == "0.000000"
