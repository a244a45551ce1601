"""Exemplars of the latency histograms: in OpenMetrics alone, and of kept traces alone."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as older_families

from gateway.core.clock import NANO
from gateway.core.trace import Trace
from gateway.dispatch.sequence import Move
from gateway.dispatch.ticket import Ticket
from gateway.telemetry.metrics import Metrics
from tests.support.memory_pool import job, only

KEPT = Trace("ab" * 16, request_span="12" * 8, work_span="cd" * 8)
HISTOGRAMS = {
    "forge_queue_wait_seconds": 1.0,
    "forge_time_to_first_token_seconds": 1.5,
    "forge_e2e_request_latency_seconds": 3.5,
    "forge_inter_token_latency_seconds": 0.02,
}
"""The value of each, of the request below."""
OPENMETRICS = "application/openmetrics-text"


def ended(trace: Trace | None) -> Metrics:
    """Metrics after a request that waited 1 s, had a token after 1.5 s, and was done at 3.5 s."""
    metrics = Metrics("tiny")
    asked = job(1.0, trace=trace)
    ticket = Ticket(1, asked, arrived_ns=NANO, meter=metrics.meter(asked))
    only(ticket).move(Move.DISPATCH)
    ticket.dispatched_ns = 2 * NANO
    ticket.first_token_ns = 5 * NANO // 2
    assert ticket.meter is not None
    ticket.meter(1, None)
    ticket.meter(1, NANO // 50)
    only(ticket).move(Move.FINISH)
    ticket.ended_ns = 9 * NANO // 2
    metrics.on_end(ticket)
    return metrics


def exemplars(
    metrics: Metrics, hidden: tuple[str, ...] = ()
) -> dict[str, tuple[float, dict[str, str]]]:
    """Value and labels of the exemplars, by the histogram."""
    content, kind = metrics.registry.exposition(OPENMETRICS, hidden)
    assert kind.startswith(OPENMETRICS)
    found = {}
    for family in text_string_to_metric_families(content.decode()):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            if sample.exemplar is not None:
                assert sample.name == f"{family.name}_bucket"
                assert sample.exemplar.value <= float(sample.labels["le"])
                assert sample.exemplar.timestamp is not None
                assert family.name not in found, "one request has one bucket"
                found[family.name] = (sample.exemplar.value, sample.exemplar.labels)
    return found


def test_a_kept_trace() -> None:
    labels = {"trace_id": KEPT.trace_id, "span_id": KEPT.work_span}
    expected = {name: (value, labels) for name, value in HISTOGRAMS.items()}
    assert exemplars(ended(KEPT)) == expected


def test_other_traces_and_none() -> None:
    assert exemplars(ended(None)) == {}
    assert exemplars(ended(Trace("ab" * 16, "12" * 8))) == {}


def test_the_older_text_has_none() -> None:
    content, _ = ended(KEPT).registry.exposition("text/plain")
    assert KEPT.trace_id not in content.decode()
    assert list(older_families(content.decode()))


def test_a_hidden_models_are_hidden() -> None:
    assert exemplars(ended(KEPT), ("tiny",)) == {}
