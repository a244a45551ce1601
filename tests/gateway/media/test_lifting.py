"""Long strings of base64 are taken out of a body, and its JSON stays what it was."""

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import BadRequest, BodyTooLarge
from gateway.media.lifting import WINDOW, LiftedTexts, lift

PHOTO = base64.b64encode(bytes(range(256)) * 400).decode()
MOST = 1 << 16
assert len(PHOTO) > 2 * WINDOW


def lifted(value: Any, most: int = MOST) -> tuple[Any, LiftedTexts]:
    text, found = lift(orjson.dumps(value), most)
    return orjson.loads(text), found


def restored(value: Any, most: int = 1 << 30) -> Any:
    left, found = lifted(value, most)
    return found.restored(left)


VALUES = st.recursive(
    st.none()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=20)
    | st.sampled_from([PHOTO, f"data:image/png;base64,{PHOTO}", "x y " * WINDOW, '"' * 3 * WINDOW]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_restored_is_what_was_sent(value: Any) -> None:
    assert restored(value) == value


def test_only_photos_are_lifted() -> None:
    url = f"data:image/jpeg;base64,{PHOTO}"
    body = {"a": url, "b": PHOTO, "c": "short", "d": "word " * 1000}
    left, found = lifted(body)
    assert len(found.places) == 2
    assert (left["c"], left["d"]) == (body["c"], body["d"])
    for name, whole in (("a", url), ("b", PHOTO)):
        taken = found.take(left[name])
        assert taken is not None
        assert bytes(taken).decode() == whole
    assert found.take("short") is None
    found.check(MOST)


def test_what_no_one_took_is_text() -> None:
    _, found = lifted({"content": PHOTO})
    with pytest.raises(BodyTooLarge, match="without its pictures"):
        found.check(MOST)


@pytest.mark.parametrize(
    "text",
    [
        "[" * (MOST + 1),
        json.dumps("word " * MOST),
        json.dumps([PHOTO] + ["x"] * MOST),
        json.dumps(["x"] * MOST + [PHOTO]),
        "1" * (MOST + 1),
    ],
)
def test_more_text_than_there_may_be(text: str) -> None:
    with pytest.raises(BodyTooLarge):
        lift(text.encode(), MOST)


def test_slashes_that_are_escaped() -> None:
    slashes = "/" * 4 * WINDOW
    data = b'{"url": "' + slashes.replace("/", "\\/").encode() + b'"}'
    text, found = lift(data, MOST)
    (name,) = found.places
    assert name in text.decode()
    taken = found.take(name)
    assert taken is not None
    assert bytes(taken).decode() == slashes == found.whole(name)


def test_a_string_that_is_no_json_is_refused() -> None:
    data = b'{"url": "' + PHOTO.encode() + b'\n"}'
    _, found = lift(data, MOST)
    (name,) = found.places
    with pytest.raises(BadRequest, match="not valid JSON"):
        found.whole(name)


def test_no_client_can_say_a_name() -> None:
    first, second = lifted({"a": PHOTO}), lifted({"a": PHOTO})
    assert first[0]["a"] != second[0]["a"]
    assert second[1].take(first[0]["a"]) is None


def test_json_is_not_changed_where_it_is_none() -> None:
    """Text outside of strings is no base64, so it stays and is refused as it was."""
    data = b'{"a": ' + b"A" * 4 * WINDOW + b', "b": 1}'
    text, found = lift(data, 1 << 20)
    assert text == data
    assert not found.places
