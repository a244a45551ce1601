"""JSON of bodies: halves of surrogate pairs, byte order marks, other encodings."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.json_text import load
from gateway.core.errors import BadRequest

LOST = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"cut \ud83d"', f"cut {LOST}"),
        (r'"\ude00 cut"', f"{LOST} cut"),
        (r'"\uD83D\uD83D\uDE00"', f"{LOST}😀"),
        (r'"\ude00\ud83d"', LOST * 2),
        (r'"\ud83dx\ude00"', f"{LOST}x{LOST}"),
        (r'"\ud83d\n"', f"{LOST}\n"),
        (r'"\\ud83d \ud83d"', f"\\ud83d {LOST}"),
        (r'"\\\ud83d"', f"\\{LOST}"),
        (r'"\u00e9\ud83d\u00e9"', f"é{LOST}é"),
        (r'{"\ud83d": 1}', {LOST: 1}),
        (r'"\ud83d\ude00 \\ud83d"', "😀 \\ud83d"),
    ],
)
def test_half_of_a_pair(text: str, expected: Any) -> None:
    assert load(text.encode()) == expected


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text(text: str) -> None:
    """As the standard library reads it, which keeps halves."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found = load(json.dumps({"a": text}).encode())["a"]
    assert found.encode("utf-16", "replace") == found.encode("utf-16")
    if not any(0xD800 <= ord(character) < 0xE000 for character in text):
        assert found == text == whole


@given(st.binary(max_size=60))
def test_nothing_else_is_let_through(data: bytes) -> None:
    """orjson stays the judge: of numbers, of depth, of what follows."""
    try:
        expected = orjson.loads(data)
    except orjson.JSONDecodeError:
        with pytest.raises(BadRequest):
            load(data)
    else:
        assert load(data) == expected


@pytest.mark.parametrize("text", [r'"\ud83d', r'["\ud83d", NaN]', r'"\ud83d" 1', r'"\ud83d\x"'])
def test_a_half_does_not_excuse_other_faults(text: str) -> None:
    with pytest.raises(BadRequest, match="not valid JSON"):
        load(text.encode())


def test_it_is_linear() -> None:
    """Each of a megabyte's escapes is looked at once; what is tried again would take hours."""
    pairs = rb"\ud83d\ude00\\\n\u0041" * 50_000
    assert load(b'"' + pairs + rb'\ud83d"').endswith(LOST)
    assert len(load(b'"' + rb"\ud83d" * 150_000 + b'"')) == 150_000
    with pytest.raises(BadRequest):
        load(b'"' + pairs + rb"\ud83")


def test_a_byte_order_mark_of_utf8_is_read() -> None:
    mark = b"\xef\xbb\xbf"
    assert load(mark + b'{"a": 1}') == {"a": 1}
    with pytest.raises(BadRequest):
        load(mark * 100_000)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ('{"a": "é"}'.encode("utf-16"), "UTF-16"),
        ('{"a": "é"}'.encode("utf-16-le"), "UTF-16"),
        ('{"a": "é"}'.encode("utf-16-be"), "UTF-16"),
        ('{"a": "é"}'.encode("utf-32"), "UTF-32"),
        ('{"a": "é"}'.encode("utf-32-le"), "UTF-32"),
        ('{"a": "é"}'.encode("latin-1"), "0xe9 at 7"),
        ('{"a": "“"}'.encode("cp1252"), "0x93 at 7"),
    ],
)
def test_other_encodings_are_named(data: bytes, named: str) -> None:
    with pytest.raises(BadRequest, match="must be UTF-8") as caught:
        load(data)
    assert named in caught.value.message
