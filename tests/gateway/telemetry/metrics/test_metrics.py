"""Metrics: close to exact, constant in memory, readable by Prometheus."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import parser as text_parser
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as open_parser

from gateway.core.clock import NANO
from gateway.core.errors import WorkerFailed
from gateway.dispatch.sequence import Move
from gateway.dispatch.ticket import Ticket
from gateway.telemetry.metrics import _MAX_BINS, Metrics
from gateway.telemetry.metrics.registry import wants_exposition
from tests.support.memory_pool import job, only
from workers.protocol import Drafts, Started

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""Header of Prometheus 3."""
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def finished(seconds: float, *, tokens: int = 3, prompt: int = 11, cached: int = 4) -> Ticket:
    ticket = Ticket(1, job(), arrived_ns=1000)
    only(ticket).move(Move.DISPATCH)
    ticket.dispatched_ns = 1000
    only(ticket).started = Started(1, 1, prompt, cached)
    ticket.first_token_ns = 1000 + round(seconds * NANO / 2)
    only(ticket).ids = list(range(tokens))
    only(ticket).move(Move.FINISH)
    ticket.ended_ns = 1000 + round(seconds * NANO)
    return ticket


def failed() -> Ticket:
    ticket = Ticket(1, job(), arrived_ns=0)
    only(ticket).move(Move.FAIL)
    ticket.fail(WorkerFailed("x"))
    ticket.ended_ns = NANO
    return ticket


def cancelled() -> Ticket:
    ticket = Ticket(1, job(), arrived_ns=0)
    only(ticket).move(Move.CANCEL)
    ticket.ended_ns = NANO
    return ticket


@settings(max_examples=40, deadline=None)
@given(
    latencies=st.lists(st.floats(1e-5, 1000), min_size=1, max_size=300),
    q=st.sampled_from([0.5, 0.9, 0.99]),
)
def test_quantiles_within_one_percent(latencies: list[float], q: float) -> None:
    metrics = Metrics("tiny")
    for seconds in latencies:
        metrics.on_end(finished(seconds))
    exact = sorted(latencies)[math.floor(q * (len(latencies) - 1))] * 1000
    # Besides the 1 %: times are whole nanoseconds, answers are rounded to the microsecond.
    assert metrics.quantile_ms(q) == pytest.approx(exact, rel=0.0101, abs=6e-4)


def test_memory_does_not_grow_with_observations() -> None:
    metrics = Metrics("tiny")
    random_ = random.Random(1)
    latencies = [random_.lognormvariate(-1, 3) for _ in range(10**5)]
    for seconds in latencies:
        metrics._latency_ms.add(seconds * 1000)
    assert len(metrics._latency_ms._bins) <= _MAX_BINS
    for q in (0.5, 0.99):
        exact = sorted(latencies)[math.floor(q * (len(latencies) - 1))] * 1000
        assert metrics.quantile_ms(q) == pytest.approx(exact, rel=0.0101)


def test_extremes_keep_the_high_quantiles() -> None:
    """Twelve decades at once collapse the lowest bins; what operators watch stays exact."""
    metrics = Metrics("tiny")
    for exponent in range(-6, 7):
        metrics._latency_ms.add(10.0**exponent)
    assert len(metrics._latency_ms._bins) <= _MAX_BINS
    assert metrics.quantile_ms(1.0) == pytest.approx(1e6, rel=0.0101)


def test_summary() -> None:
    metrics = Metrics("tiny")
    assert metrics.summary(0, 0) == {
        "queue_depth": 0,
        "running": 0,
        "p50_latency_ms": 0.0,
        "p99_latency_ms": 0.0,
        "event_loop_lag_max_ms": 0.0,
        "requests": {"finished": 0, "failed": 0, "cancelled": 0, "total": 0},
    }
    for ticket in (finished(0.25), failed(), cancelled(), cancelled()):
        metrics.on_end(ticket)
    summary = metrics.summary(5, 6)
    assert (summary["queue_depth"], summary["running"]) == (5, 6)
    assert summary["requests"] == {"finished": 1, "failed": 1, "cancelled": 2, "total": 4}
    # Only what finished has a latency.
    assert summary["p50_latency_ms"] == summary["p99_latency_ms"]
    assert summary["p50_latency_ms"] == pytest.approx(250, rel=0.0101)


def samples(metrics: Metrics, accept: str) -> dict[tuple[str, str], float]:
    """All samples of the exposition, by name and the outcome or bucket they are for."""
    body, content_type = metrics.registry.exposition(accept)
    text = body.decode()
    families: list[Metric]
    if content_type.startswith("application/openmetrics-text"):
        families = list(open_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    else:
        families = list(text_parser.text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, sample.labels.get("outcome", sample.labels.get("le", ""))): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("class", "normal") == "normal"
    }


@pytest.mark.parametrize("accept", [PROMETHEUS, "text/plain", "application/openmetrics-text"])
def test_exposition_is_parsed_by_prometheus_own_parsers(accept: str) -> None:
    metrics = Metrics("tiny")
    depth = 3
    metrics.registry.gauge("connections", "Connections open", lambda: depth)
    metrics.meter(job())(2, None)
    metrics.meter(job())(1, 3_000_000)
    ended = finished(0.25, tokens=3, prompt=11, cached=4)
    for drafts in (Drafts(7, 2), Drafts(3, 0)):
        only(ended).count_drafts(drafts)
    metrics.on_end(ended)
    metrics.on_end(failed())
    got = samples(metrics, accept)
    assert got["forge_connections", ""] == 3
    assert got["forge_requests_total", "finished"] == 1
    assert got["forge_requests_total", "failed"] == 1
    assert got["forge_requests_total", "cancelled"] == 0, "a series must exist before its first"
    assert got["forge_prompt_tokens_total", ""] == 11
    assert got["forge_prefix_cache_queried_tokens_total", ""] == 11
    assert got["forge_prefix_cache_hit_tokens_total", ""] == 4
    assert got["forge_spec_decode_drafts_total", ""] == 2
    assert got["forge_spec_decode_draft_tokens_total", ""] == 10
    assert got["forge_spec_decode_accepted_tokens_total", ""] == 2
    assert got["forge_generation_tokens_total", ""] == 3
    assert got["forge_e2e_request_latency_seconds_count", ""] == 1
    assert got["forge_e2e_request_latency_seconds_sum", ""] == pytest.approx(0.25)
    assert got["forge_e2e_request_latency_seconds_bucket", "0.1"] == 0
    assert got["forge_e2e_request_latency_seconds_bucket", "0.25"] == 1
    assert got["forge_time_to_first_token_seconds_sum", ""] == pytest.approx(0.125)
    assert got["forge_queue_wait_seconds_count", ""] == 1, "the failed one had no worker"
    assert got["forge_inter_token_latency_seconds_bucket", "0.0025"] == 0
    assert got["forge_inter_token_latency_seconds_bucket", "0.005"] == 1
    assert got["forge_inter_token_latency_seconds_sum", ""] == pytest.approx(0.003)
    assert got["forge_request_prompt_tokens_sum", ""] == 11
    assert got["forge_request_generation_tokens_bucket", "5.0"] == 1
    depth = 8
    assert samples(metrics, accept)["forge_connections", ""] == 8, "read at each scrape"


def test_openmetrics_is_chosen_when_asked_for() -> None:
    assert (
        Metrics("tiny")
        .registry.exposition(PROMETHEUS)[1]
        .startswith("application/openmetrics-text")
    )
    assert Metrics("tiny").registry.exposition("text/plain")[1].startswith("text/plain")


@pytest.mark.parametrize("version", ["x", "1.x", "\xb2", "1..2", "", "9" * 5000])
@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_a_version_that_is_no_number(kind: str, version: str) -> None:
    body, content_type = Metrics("tiny").registry.exposition(f"{kind};version={version}")
    assert b"forge_requests_total" in body
    assert content_type.startswith(("text/plain", "application/openmetrics-text"))


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS, True),
        ("text/plain", True),
        ("text/plain;version=0.0.4", True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        ("application/json, text/plain;q=0.5", False),
        ("*/*", False),  # curl
        (BROWSER, False),
        ("application/json", False),
        ("", False),
        ("text/plainer", False),
    ],
)
def test_who_gets_prometheus_text_and_who_json(accept: str, wanted: bool) -> None:
    assert wants_exposition(accept) is wanted
