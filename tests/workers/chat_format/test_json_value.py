"""The end of a JSON value, however the text is cut."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.chat_format.json_value import JsonValue

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=12)


def cut(text: str, at: list[int]) -> list[str]:
    bounds = [0, *sorted({n % (len(text) + 1) for n in at}), len(text)]
    return [text[a:b] for a, b in pairwise(bounds)]


def taken(pieces: list[str]) -> tuple[str, bool]:
    value, out = JsonValue(), ""
    for piece in pieces:
        size = value.push(piece)
        out += piece[:size]
    return out, value.done


@settings(max_examples=50, deadline=None)
@given(VALUES, st.booleans(), st.none() | st.integers(0, 3), st.text(), st.lists(st.integers(0)))
def test_ends_where_json_ends(
    value: object, ascii_: bool, indent: int | None, rest: str, cuts: list[int]
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent)
    if not isinstance(value, dict | list | str):
        rest = "," + rest  # anything else could go on with a number
    assert taken(cut(text + rest, cuts)) == (text, True)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(), VALUES, min_size=1), st.integers(0), st.lists(st.integers(0)))
def test_half_a_value_is_not_done(value: object, half: int, cuts: list[int]) -> None:
    text = json.dumps(value)
    text = text[: half % len(text)]
    assert taken(cut(text, cuts)) == (text, False)


@pytest.mark.parametrize("text", ["", " \n", "12", "-1.5e+3", "tru"])
def test_open_ended(text: str) -> None:
    assert taken([text]) == (text, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12}", "12"),
        (" null\n", " null"),
        ('{"}"}}', '{"}"}'),
        ('"\\""', '"\\""'),
        ("<x", ""),
        ("]", ""),
    ],
)
def test_by_hand(text: str, value: str) -> None:
    assert taken([text]) == (value, True)


def test_a_long_value_costs_its_length() -> None:
    """Nothing is looked at twice."""
    value = JsonValue()
    assert value.push('{"x": "') == 7
    assert all(value.push("\\u") == 2 for _ in range(100_000))
    assert value.push('"}]') == 2
