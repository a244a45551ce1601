"""The text of metrics: as prometheus_client would write it, and as its parsers read it."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, parser
from prometheus_client import generate_latest as plain
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from gateway.telemetry.metrics.exposition import Family, combinations, render, series, without

VALUES = st.text(st.characters(codec="utf-8") | st.sampled_from('\\"\n{},= #'), max_size=8)
NUMBERS = st.integers(0, 2**60) | st.floats(allow_nan=False, allow_infinity=False)


@given(VALUES, NUMBERS)
def test_any_label_and_any_number(label: str, number: float) -> None:
    ours = [Family("g_bytes", "gauge", "Some.", [(series("g_bytes", {"a": label}), number)])]
    readers: list[tuple[bool, Callable[[str], Iterable[Metric]]]] = [
        (False, parser.text_string_to_metric_families),
        (True, openmetrics_parser.text_string_to_metric_families),
    ]
    for as_openmetrics, read in readers:
        (family,) = read(render(ours, openmetrics=as_openmetrics).decode())
        assert (family.name, family.type, family.documentation) == ("g_bytes", "gauge", "Some.")
        (sample,) = family.samples
        assert (sample.labels, sample.value) == ({"a": label}, float(number))


@pytest.mark.parametrize(
    ("as_openmetrics", "library"), [(False, plain), (True, openmetrics)], ids=["plain", "open"]
)
def test_byte_for_byte_the_librarys(as_openmetrics: bool, library: Any) -> None:
    registry = CollectorRegistry()
    counter = Counter("c", "Count.", ["a"], registry=registry)
    counter.labels('x"\\\n').inc(3)
    Gauge("g", "Gauge.", registry=registry).set(0.25)
    lines = library(registry).decode().splitlines(keepends=True)
    expected = "".join(line for line in lines if "_created" not in line)
    ours = [
        Family("c", "counter", "Count.", [(series("c_total", {"a": 'x"\\\n'}), 3)]),
        Family("g", "gauge", "Gauge.", [("g", 0.25)]),
    ]
    assert render(ours, openmetrics=as_openmetrics).decode() == expected


@given(st.lists(VALUES, min_size=1, max_size=4, unique=True), VALUES)
def test_hidden_models_are_left_out_and_no_others(models: list[str], other: str) -> None:
    """Whatever is in a name, and in the other labels."""
    lines = [series("g", {"class": other, "model": each, "state": other}) for each in models]
    whole = Family("g", "gauge", "Some.", [(line, 1.0) for line in (*lines, "g_sum")])
    (shown,) = without([whole], models[1:])
    samples = [line for line, _ in shown.samples]
    assert samples[-1] == "g_sum"
    assert not set(samples) & set(lines[1:])
    if not set('",={}') & set("".join((*models, other))):
        assert samples == [lines[0], "g_sum"]
    assert [line for line, _ in whole.samples] == [*lines, "g_sum"]


def test_combinations() -> None:
    assert list(combinations({})) == [{}]
    found = list(combinations({"a": "xy", "b": "z"}))
    assert found == [{"a": "x", "b": "z"}, {"a": "y", "b": "z"}]
