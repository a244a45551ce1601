"""Times to keep a model, as clients write them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from gateway.api.ollama.keep_alive import MOST_S, seconds


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        (0, 0.0),
        (5, 5.0),
        (0.25, 0.25),
        (1800, 1800.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("300", 300.0),
        ("5m", 300.0),
        (" 5m ", 300.0),
        ("+1h30m", 5400.0),
        ("1h30m10s", 5410.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("100ms", 0.1),
        ("2µs", 2e-6),
        ("1h1ns", 3600.000000001),
        (1e300, MOST_S),
        ("9999999h", MOST_S),
    ],
)
def test_times(given: Any, found: float | None) -> None:
    assert seconds(given) == (found if found is None else pytest.approx(found))


@pytest.mark.parametrize("given", [-1, -0.5, "-1", "-1s", "-1h30m", -(10**30)])
def test_for_ever_is_the_models_own_time(given: Any) -> None:
    assert seconds(given) is None


@pytest.mark.parametrize(
    "given",
    [True, False, "", "m", "5x", "5 m", "forever", "1h-3m", "--1s", "1e5", "\u0665m", [], {}],
)
def test_no_time(given: Any) -> None:
    with pytest.raises(PydanticCustomError, match="duration such as '5m'"):
        seconds(given)


@given(st.text("0123456789.hmsnuµ+-", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = seconds(text)
    except PydanticCustomError:
        return
    assert found is None or 0 <= found <= MOST_S


def test_long_texts_are_refused_at_once() -> None:
    with pytest.raises(PydanticCustomError):
        seconds("1h" * 1_000_000)
