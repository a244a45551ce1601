"""Bytes that no honest peer sends, in both directions: ProtocolError, and nothing else."""

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.workers.protocol.test_protocol import FROM_WORKER, TO_WORKER, cut, fed, frame
from workers.protocol import (
    MAX_FRAME,
    Chat,
    Delta,
    FromWorker,
    Generate,
    GenerationParams,
    ProtocolError,
    Sampling,
    Step,
    ToWorker,
    encode,
)

DIRECTIONS = [ToWorker, FromWorker]
FRAMES = st.lists((TO_WORKER | FROM_WORKER).map(encode), min_size=1, max_size=3).map(b"".join)
PLACES = st.lists(st.integers(0, 2**16), max_size=4)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = TEXT | INTEGERS | st.none()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | INTEGERS
    | st.floats()
    | TEXT
    | st.binary(max_size=8)
    | st.sampled_from(["generate", "cancel", "park", "step", "delta", "chat", "type", "id"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def understood(data: bytes, places: list[int]) -> None:
    """Both directions take ``data``, however it is cut, or say that it is none of theirs."""
    for direction in DIRECTIONS:
        try:
            fed(direction, cut(data, places))
        except ProtocolError as error:
            assert str(error)  # noqa: PT017 - whether it is raised is open


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), PLACES)
def test_random_bytes(data: bytes, places: list[int]) -> None:
    understood(data, places)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), PLACES)
def test_random_bodies(body: bytes, places: list[int]) -> None:
    understood(frame(body), places)


@settings(max_examples=150, deadline=None)
@given(FRAMES, st.integers(0, 2**16), PLACES)
def test_truncated(data: bytes, end: int, places: list[int]) -> None:
    understood(data[: end % len(data)], places)


@settings(max_examples=300, deadline=None)
@given(FRAMES, st.lists(st.integers(0, 2**16), min_size=1, max_size=3), PLACES)
def test_flipped_bits(data: bytes, bits: list[int], places: list[int]) -> None:
    flipped = bytearray(data)
    for bit in bits:
        flipped[bit // 8 % len(data)] ^= 1 << bit % 8
    understood(bytes(flipped), places)


@settings(max_examples=150, deadline=None)
@given(TO_WORKER | FROM_WORKER, st.integers(0, 20), VALUES)
@example(Generate(1, 1, Chat([]), GenerationParams(Sampling(1)), 0.0), 3, [[]])
def test_wrong_types(message: msgspec.Struct, field: int, value: Any) -> None:
    """One value of a message is another one."""
    plain = msgspec.msgpack.decode(encode(message)[4:])
    keys = sorted(plain)
    plain[keys[field % len(keys)]] = value
    understood(frame(msgspec.msgpack.encode(plain)), [])


def inside(message: msgspec.Struct, place: bytes, put: bytes) -> bytes:
    """The frame of ``message`` with the bytes ``put`` in place of ``place``."""
    body = encode(message)[4:]
    assert body.count(place) == 1
    return frame(body.replace(place, put))


CONVERSATION = Generate(1, 1, Chat([{"content": "HERE"}]), GenerationParams(Sampling(1)), 0.0)
NEWS = Step([Delta(1, 1, [1], "HERE")], None)
HERE = b"\xa4HERE"
INFINITE = {
    "array in array": b"\x91" * 10**6 + b"\x90",
    "map in map": b"\x81\xa1a" * 10**6 + b"\x80",
    "array of 2^32": b"\xdd" + b"\xff" * 4,
    "map of 2^32": b"\xdf" + b"\xff" * 4,
    "text of 2^32": b"\xdb" + b"\xff" * 4,
    "bytes of 2^32": b"\xc6" + b"\xff" * 4,
    "extension of 2^32": b"\xc9" + b"\xff" * 5,
    "not UTF-8": b"\xa2\xc3\x28",
    "half a surrogate pair": b"\xa3\xed\xa0\x80",
    "time out of range": b"\xc7\x0c\xff" + b"\xff" * 12,
    "key that is a map": b"\x81\x80\x90",
}


@pytest.mark.parametrize("put", INFINITE.values(), ids=INFINITE.keys())
def test_hostile_values(put: bytes) -> None:
    """Named as rubbish wherever they are, and without taking memory for what they promise."""
    for direction, message in ((ToWorker, CONVERSATION), (FromWorker, NEWS)):
        data = inside(message, HERE, put)
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match="not a message of this protocol"):
                fed(direction, [data])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < (1 << 22) + 8 * len(data)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=["to worker", "from worker"])
def test_a_length_alone_takes_no_memory(direction: Any) -> None:
    tracemalloc.start()
    try:
        assert fed(direction, [MAX_FRAME.to_bytes(4, "big"), b"x" * 1000]) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
