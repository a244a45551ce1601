"""Traces of a real server, from clients to workers' logs, whatever the collector does."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.conftest import Start
from tests.support.collector import Collector, collector
from tests.support.dialects import CHAT, INFER
from tests.support.server import ForgeServer, eventually, freeze
from tests.support.traffic import Streaming

SMALL = ("--workers", "1", "--slots", "2", "--log-format", "json", "--alias", "tiny")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = 'forge_trace_spans_total{fate="sent"} 5.0'
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}


@pytest.fixture
def receiver() -> Iterator[Collector]:
    with collector() as found:
        yield found


def records(server: ForgeServer, logger: str) -> list[dict[str, Any]]:
    """The records of a logger, in JSON."""
    lines = (json.loads(line) for line in server.stderr.splitlines() if line.startswith("{"))
    return [record for record in lines if record["logger"] == logger]


def post(server: ForgeServer, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    with server.client() as client:
        answer = client.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer


def scraped(server: ForgeServer) -> str:
    """Return the metrics as Prometheus asks for them."""
    with server.client() as client:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        return client.get("/metrics", headers=accept).text


def test_one_trace_through_all(start_server: Start, receiver: Collector) -> None:
    """Client, gateway, worker: the spans, both logs and the exemplars name one trace."""
    server = start_server(*SMALL, env=receiver.environ())
    post(server, CHAT.path, CHAT.body(max_tokens=8, ignore_eos=True), **PARENT)
    spans = receiver.trace(5, TRACE)
    work = spans["chat tiny"]
    assert spans[f"POST {CHAT.path}"].parent == "00f067aa0ba902b7"
    assert spans[f"POST {CHAT.path}"].attributes["server.port"] == int(server.url.split(":")[-1])
    assert work.attributes["gen_ai.usage.output_tokens"] == 8
    assert spans["prefill"].end_ns == spans["decode"].start_ns
    ids = {"trace_id": TRACE, "span_id": work.span_id, "trace_flags": "01"}
    eventually(lambda: records(server, "forge.requests"), "the request is logged")
    (ours,) = records(server, "forge.requests")
    assert ids.items() <= ours.items()
    (theirs,) = records(server, "forge.worker")
    assert ids.items() <= theirs.items()
    assert theirs["process"] in server.pids()
    eventually(lambda: SENT in scraped(server), "the collector has answered")
    text = scraped(server)
    found = [
        sample
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert {each.exemplar.labels["trace_id"] for each in found if each.exemplar} == {TRACE}
    assert "forge_e2e_request_latency_seconds_bucket" in {each.name for each in found}


def test_embeddings(start_server: Start, receiver: Collector) -> None:
    server = start_server(*SMALL, env=receiver.environ())
    post(server, "/v1/embeddings", {"input": ["a", "b"]}, **PARENT)
    spans = receiver.all_of(TRACE, 6)
    (work,) = (each for each in spans if each.name == "embeddings tiny")
    assert work.attributes["gen_ai.usage.input_tokens"] > 0
    parts = sorted(each.name for each in spans if each.parent == work.span_id)
    assert parts == ["prefill", "prefill", "queue", "queue"]


def test_a_killed_worker(start_server: Start, receiver: Collector) -> None:
    """One trace over both workers, with a part for each."""
    options = ("--workers", "2", *SMALL[2:])
    server = start_server(*options, env=receiver.environ())
    stream = Streaming(server, "count", max_tokens=200, ignore_eos=True).wait_for(2)
    (busy,) = (each for each in server.workers() if each["busy"])
    freeze(busy["pid"])
    os.kill(busy["pid"], signal.SIGKILL)
    assert stream.finish()
    spans = receiver.after(0, 7)
    assert len({each.trace_id for each in spans}) == 1
    (work,) = (each for each in spans if each.name.endswith(" tiny"))
    assert [name for name, _, _ in work.events] == ["worker_lost", "failed_over"]
    assert work.attributes["forge.retried"] is True
    workers = {each.attributes["forge.attempt"]: each.attributes["forge.worker.id"]
               for each in spans if each.name == "decode"}  # fmt: skip
    assert workers.keys() == {1, 2}
    assert workers[1] == busy["id"]
    assert workers[2] != busy["id"]
    assert len(records(server, "forge.worker")) == 2, "both workers' logs name the trace"


def test_preemption(start_server: Start, receiver: Collector) -> None:
    options = ("--workers", "1", "--slots", "1", *SMALL[4:], "--quantum", "0")
    server = start_server(*options, env=receiver.environ())
    stream = Streaming(server, "count", max_tokens=300, ignore_eos=True, priority=0).wait_for(2)
    post(server, INFER.path, INFER.body(max_tokens=2, priority=2))
    assert stream.finish()
    found = receiver.after(0, 12)
    (work,) = (each for each in found if each.attributes.get("forge.priority") == 0)
    spans = receiver.all_of(work.trace_id, 7)
    assert [name for name, _, _ in work.events][:3] == ["preempted", "parked", "resumed"]
    assert work.attributes["forge.preempted"] is True
    assert work.attributes["forge.parked.seconds"] > 0
    queues = [each for each in spans if each.name == "queue"]
    assert "preemption" in {each.attributes["forge.queue.reason"] for each in queues}


def test_none_is_kept(start_server: Start, receiver: Collector) -> None:
    """The client's flag does not override the operator; the log has its trace all the same."""
    server = start_server(*SMALL, env=receiver.environ(OTEL_TRACES_SAMPLER="always_off"))
    post(server, INFER.path, INFER.body(max_tokens=2), **PARENT)
    eventually(lambda: records(server, "forge.requests"), "the request is logged")
    (record,) = records(server, "forge.requests")
    assert (record["trace_id"], record["trace_flags"]) == (TRACE, "00")
    assert "span_id" not in record
    assert records(server, "forge.worker") == []
    server.stop()
    assert receiver.spans == []


@pytest.mark.parametrize("trouble", ["hangs", "refuses", "absent"])
def test_a_bad_collector(start_server: Start, receiver: Collector, trouble: str) -> None:
    """Requests are served, and the server ends, as if there were none."""
    environ = receiver.environ(OTEL_EXPORTER_OTLP_TIMEOUT="3600")
    if trouble == "hangs":
        receiver.hung.clear()
    elif trouble == "refuses":
        receiver.status = 503
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free.getsockname()[1]}"
    server = start_server(*SMALL, env=environ)
    pids = server.pids()
    for _ in range(20):
        post(server, INFER.path, INFER.body(max_tokens=2))
    server.signal(signal.SIGTERM)
    server.expect_end(pids)
    said = [record["message"] for record in records(server, "forge.tracing")]
    assert said[0].startswith("traces go to ")
    assert "the last spans are lost" in said[-1]
    assert not [each for each in server.stderr.splitlines() if not each.startswith("{")]


def test_the_end_of_the_server_delivers(start_server: Start, receiver: Collector) -> None:
    environ = receiver.environ(OTEL_BSP_SCHEDULE_DELAY="3600000")
    server = start_server(*SMALL, env=environ)
    post(server, INFER.path, INFER.body(max_tokens=2))
    assert receiver.spans == []
    server.stop()
    assert len(receiver.spans) == 5


def test_without_the_extra(start_server: Start, tmp_path: Path) -> None:
    """The server says what is missing, and serves."""
    broken = tmp_path / "opentelemetry"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('not here')\n")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": paths}
    server = start_server(*SMALL, env=environ)
    post(server, INFER.path, INFER.body(max_tokens=2))
    (record,) = records(server, "forge.tracing")
    assert record["level"] == "error"
    assert "pip install 'forge-inference-gateway[otel]'" in record["message"]


def test_off(start_server: Start) -> None:
    """Without a collector a client's trace is in the log, and in nothing else."""
    server = start_server(*SMALL)
    post(server, INFER.path, INFER.body(max_tokens=2), **PARENT)
    post(server, INFER.path, INFER.body(max_tokens=2))
    eventually(lambda: len(records(server, "forge.requests")) == 2, "both are logged")
    first, second = records(server, "forge.requests")
    assert first["trace_id"] == TRACE
    assert "trace_id" not in second
    assert records(server, "forge.worker") == records(server, "forge.tracing") == []
