"""Which traces are drawn, what the variables say, and what is left of spans at the end."""

import asyncio
import logging
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gateway.core.trace import Trace
from gateway.tracing import EXTRA, tracer
from gateway.tracing.attributes import ATTRIBUTES
from gateway.tracing.exporter import Exporter
from gateway.tracing.span import Span
from gateway.tracing.tracer import Tracer
from tests.support.collector import Collector, collector

DRAWS = 2000


@pytest.fixture
def receiver() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture
def exporter(receiver: Collector, monkeypatch: pytest.MonkeyPatch) -> Exporter:
    return made(receiver, monkeypatch)


def made(receiver: Collector, monkeypatch: pytest.MonkeyPatch, **more: str) -> Exporter:
    for name, value in receiver.environ(**more).items():
        monkeypatch.setenv(name, value)
    return Exporter(receiver.url, "1.2.3")


def a_span(name: str = "a") -> Span:
    return Span(
        trace=Trace("ab" * 16), name=name, span_id="cd" * 8, parent="", start_ns=1, end_ns=2
    )


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_ratio(receiver: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    """A quarter of all requests is kept, whatever trace a client sends."""
    exporter = made(
        receiver, monkeypatch, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.25"
    )
    traces = Tracer(exporter, "tiny")
    random.seed(1)
    # The first id is one that a sampler by ratio always takes, the second one that it never does.
    for trace_id, flags in (("0" * 31 + "1", "01"), ("f" * 32, "00"), ("", "")):
        parent = f"00-{trace_id}-{'ab' * 8}-{flags}".encode()
        headers = [(b"traceparent", parent)] if trace_id else []
        found = [traces.begin("/infer", headers) for _ in range(DRAWS)]
        kept = [each for each in found if each is not None and each.sampled]
        assert 0.2 < len(kept) / DRAWS < 0.3
        if trace_id:
            assert {each.trace_id for each in found if each is not None} == {trace_id}
            assert None not in found, "an unkept request has its trace all the same"
            assert {each.parent_span for each in kept} == {"ab" * 8}
    asyncio.run(exporter.close())


@pytest.mark.parametrize(
    ("sampler", "kept"), [("always_off", False), ("parentbased_always_on", True)]
)
def test_all_or_none(
    receiver: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str, kept: bool
) -> None:
    exporter = made(receiver, monkeypatch, OTEL_TRACES_SAMPLER=sampler)
    assert {exporter.draw("/infer") for _ in range(10)} == {kept}
    asyncio.run(exporter.close())


def test_the_end_delivers_what_is_left(
    receiver: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = made(receiver, monkeypatch, OTEL_BSP_SCHEDULE_DELAY="600000")
    exporter.emit(a_span())
    assert receiver.spans == []
    asyncio.run(exporter.close())
    (span,) = receiver.spans
    assert (span.name, span.trace_id, span.span_id, span.parent) == ("a", "ab" * 16, "cd" * 8, "")
    assert (span.start_ns, span.end_ns) == (1, 2)
    assert exporter.counts() == {"made": 1, "sent": 1, "lost": 0}


def test_the_resource(receiver: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    for more, name, version in (
        ({}, "forge", "1.2.3"),
        ({"OTEL_SERVICE_NAME": "gateway-7"}, "gateway-7", "1.2.3"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x,service.version=9,zone=b"}, "x", "9"),
    ):
        with monkeypatch.context() as patch:
            exporter = made(receiver, patch, **more)
            exporter.emit(a_span())
            asyncio.run(exporter.close())
        resource = receiver.spans[-1].resource
        assert (resource["service.name"], resource["service.version"]) == (name, version)
    assert resource["zone"] == "b"


def test_headers_go_along(receiver: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = made(receiver, monkeypatch, OTEL_EXPORTER_OTLP_HEADERS="x-tenant=blue")
    exporter.emit(a_span())
    asyncio.run(exporter.close())
    assert receiver.headers[-1]["x-tenant"] == "blue"


def test_a_full_queue_drops_spans(receiver: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans beyond the bound are lost; the request that emits them never waits."""
    receiver.hung.clear()
    exporter = made(
        receiver, monkeypatch, OTEL_BSP_MAX_QUEUE_SIZE="8", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4"
    )
    for n in range(100):
        exporter.emit(a_span(str(n)))
    receiver.hung.set()
    asyncio.run(exporter.close())
    assert 8 <= len(receiver.spans) < 100
    assert receiver.spans[-1].name == "99"


def test_a_collector_that_refuses_is_told_once(
    exporter: Exporter, receiver: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 400  # as for what can't be tried again
    with caplog.at_level(logging.INFO, "forge.tracing"):
        for _ in range(3):
            exporter.delivery.export([])
        receiver.status = 200
        for _ in range(3):
            exporter.delivery.export([])
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"spans are lost: the collector at {receiver.url} does not take them",
        f"the collector at {receiver.url} takes spans again",
    ]
    asyncio.run(exporter.close())


def test_a_bad_variable_is_one_line(
    receiver: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environ = receiver.environ(OTEL_BSP_MAX_QUEUE_SIZE="1", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="9")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert tracer(environ, "tiny", "1") is None
    (record,) = (each for each in caplog.records if each.name == "forge.tracing")
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("no traces: ")


def test_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "gateway.tracing.exporter", None)
    assert tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, "tiny", "1") is None
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in record.getMessage()
    assert EXTRA in record.getMessage()


def test_off_imports_nothing() -> None:
    """Without an endpoint OpenTelemetry stays out of the process, though it is installed."""
    program = (
        "import sys; from gateway.app import Gateway; from gateway.config.config import Config; "
        "gateway = Gateway(Config(alias='a')); gateway.app(); assert gateway.tracer is None; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_each_attribute_has_a_place_and_a_meaning() -> None:
    for name, (of, source, text) in ATTRIBUTES.items():
        assert set(of.split(", ")) <= {"request", "work", "parts", "events"}
        assert (source == "Forge") == name.startswith("forge.")
        assert text
