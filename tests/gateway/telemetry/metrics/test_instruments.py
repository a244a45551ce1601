"""Counters and histograms: what is scraped is what was told, in the series of the start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.clock import NANO
from gateway.telemetry.metrics.exposition import render
from gateway.telemetry.metrics.instruments import Counter, Histogram, TokenMeter, nanoseconds

BOUNDS = (0.001, 0.25, 0.5, 1, 30)
LABELS = {"class": ("batch", "normal"), "model": ("m",)}


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Values of all series but the library's additions."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def scraped(collector: Counter | Histogram) -> str:
    return render(collector.collect(), openmetrics=False).decode()


@given(
    st.lists(
        st.integers(0, 40 * NANO)
        | st.sampled_from([nanoseconds(bound) + step for bound in BOUNDS for step in (-1, 0, 1)])
    )
)
def test_a_histogram_is_the_librarys(values: list[int]) -> None:
    """Of integers, though: a value on a bound is never beside it."""
    ours = Histogram("h_seconds", "text", BOUNDS, LABELS, scale=NANO)
    registry = CollectorRegistry()
    reference = Reference("h_seconds", "text", LABELS, buckets=BOUNDS, registry=registry)
    for kind in LABELS["class"]:
        reference.labels(kind, "m")
    for value in values:
        ours.of("normal", "m").observe(value)
        reference.labels("normal", "m").observe(value / NANO)
    assert parsed(scraped(ours)) == pytest.approx(parsed(generate_latest(registry).decode()))


def test_a_bound_belongs_to_its_bucket() -> None:
    buckets = Histogram("h", "text", (1, 2), {}).of()
    for value in (1, 2, 3):
        buckets.observe(value)
    assert buckets.counts == [1, 1, 1]
    assert buckets.sum == 6


def test_a_counter() -> None:
    counter = Counter("c", "text", LABELS)
    before = scraped(counter)
    counter.add(("normal", "m"))
    counter.add(("normal", "m"), 4)
    after = scraped(counter)
    assert 'c_total{class="batch",model="m"} 0.0\n' in after
    assert 'c_total{class="normal",model="m"} 5.0\n' in after
    assert len(before.splitlines()) == len(after.splitlines())


def test_no_series_are_made_later() -> None:
    with pytest.raises(KeyError):
        Counter("c", "text", LABELS).add(("weekend", "m"))
    with pytest.raises(KeyError):
        Histogram("h", "text", BOUNDS, LABELS).of("weekend", "m")


def test_a_meter_counts_tokens_and_the_gaps_between_them() -> None:
    gaps = Histogram("h", "text", (10, 20), {}).of()
    meter = TokenMeter(gaps)
    meter(1, None)
    meter(2, 15)
    meter(1, 25)
    assert meter.tokens == 4
    assert (gaps.counts, gaps.sum) == ([0, 1, 1], 40)
