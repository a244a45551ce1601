"""The sketch against the exact quantiles of what it was told."""

from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.metrics.sketch import Sketch

ERROR = 0.01
ROUNDING = 1e-9
LATENCIES = st.lists(st.floats(1e-3, 1e7) | st.integers(1, 300_000).map(float), min_size=1)


def told(values: list[float], max_bins: int = 1024) -> Sketch:
    sketch = Sketch(ERROR, max_bins)
    for value in values:
        sketch.add(value)
    return sketch


def exact(values: list[float], q: float) -> float:
    return sorted(values)[floor(q * (len(values) - 1))]


@given(LATENCIES, st.floats(0, 1))
def test_every_quantile_is_within_the_error(values: list[float], q: float) -> None:
    assert told(values).quantile(q) == pytest.approx(exact(values, q), rel=ERROR + ROUNDING)


@given(LATENCIES, st.integers(2, 20), st.floats(0, 1))
def test_few_bins_keep_the_high_quantiles(values: list[float], max_bins: int, q: float) -> None:
    sketch = told(values, max_bins)
    assert len(sketch._bins) <= max_bins
    assert sum(sketch._bins.values()) == len(values)
    assert sketch.quantile(1) == pytest.approx(max(values), rel=ERROR + ROUNDING)
    found = sketch.quantile(q)
    assert found is not None
    # Only the lowest bin may stand for smaller values.
    if found > min(2 * sketch._gamma**key / (1 + sketch._gamma) for key in sketch._bins):
        assert found == pytest.approx(exact(values, q), rel=ERROR + ROUNDING)


def test_nothing_yet_and_nothing_at_all() -> None:
    assert told([]).quantile(0.5) is None
    assert told([0.0, -1.0]).quantile(0.5) == pytest.approx(0, abs=1e-8)
