"""Compressed bodies: every format as clients write it, and what attackers make of it."""

import contextlib
import gzip
import os
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.content_encoding import MOST_MEMBERS, decoded, encodings
from gateway.core.errors import BadRequest, BodyTooLarge, UnsupportedEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
LIMIT = MIB
TEXT = b'{"query": "what is 2+2?"}'


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


Packer = tuple[str, Callable[[bytes], bytes]]
"""A format's name in the header, and how it is written."""
PACKERS: dict[str, Packer] = {
    "gzip": ("gzip", gzip.compress),
    "gzip, stored": ("gzip", lambda data: gzip.compress(data, 0)),
    "zstd": ("zstd", zstd.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
}


@pytest.fixture(params=[*PACKERS])
def packer(request: pytest.FixtureRequest) -> Packer:
    """Each format."""
    return PACKERS[request.param]


# ------------------------------------------------------------------ the header


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], []),
        ([""], []),
        (["identity"], []),
        (["UTF-8"], []),
        (["gzip"], ["gzip"]),
        (["X-GZip"], ["gzip"]),
        ([" ZSTD ,"], ["zstd"]),
        (["deflate, identity, gzip"], ["deflate", "gzip"]),
        (["zstd", "gzip"], ["zstd", "gzip"]),
    ],
)
def test_encodings(values: list[str], found: list[str]) -> None:
    assert encodings(values) == found


@pytest.mark.parametrize(
    "values",
    [["br"], ["gzip;q=1"], ["gzip", "br"], ["*"], ["compress"], ["aes128gcm"], ["gzip gzip"]],
)
def test_other_encodings(values: list[str]) -> None:
    with pytest.raises(UnsupportedEncoding, match="gzip, zstd, deflate"):
        encodings(values)


def test_too_many_encodings() -> None:
    for values in (["gzip"] * 3, ["gzip," * 30_000]):
        with pytest.raises(UnsupportedEncoding, match="2 encodings"):
            encodings(values)
    with pytest.raises(UnsupportedEncoding) as caught:
        encodings(["x" * 60_000])
    assert len(caught.value.message) < 200


# ------------------------------------------------------------------ what clients send


@given(data=st.binary(max_size=4096))
def test_each_format_is_read(data: bytes) -> None:
    for name, pack in PACKERS.values():
        assert decoded(pack(data), [name], LIMIT) == data


def test_a_body_of_many_steps_is_read(packer: Packer) -> None:
    """Bytes that a decoder keeps to itself when a step is full come with the next one."""
    name, pack = packer
    for data in (TEXT * 150_000, bytes(4 * MIB), os.urandom(9) * 400_000):
        assert decoded(pack(data), [name], 4 * MIB) == data
        if name != "deflate":
            parts = pack(data[:MIB]) + pack(b"") + pack(data[MIB:])
            assert decoded(parts, [name], 4 * MIB) == data


def test_a_body_of_the_limit_is_read(packer: Packer) -> None:
    name, pack = packer
    for data in (os.urandom(LIMIT), bytes(LIMIT)):
        assert decoded(pack(data), [name], LIMIT) == data


def test_two_encodings() -> None:
    for inner, pack in PACKERS.values():
        for outer, pack_again in PACKERS.values():
            assert decoded(pack_again(pack(TEXT)), [inner, outer], LIMIT) == TEXT
            if inner != outer:
                with pytest.raises(BadRequest):
                    decoded(pack_again(pack(TEXT)), [outer, inner], LIMIT)


def test_several_parts_are_one_body() -> None:
    """Of gzip (pigz, bgzip) and of zstd, whose streams may also begin with frames to be skipped."""
    halves = TEXT[:10], TEXT[10:]
    assert decoded(b"".join(map(gzip.compress, halves)), ["gzip"], LIMIT) == TEXT
    assert decoded(b"".join(map(zstd.compress, halves)), ["zstd"], LIMIT) == TEXT
    skipped = struct.pack("<II", 0x184D2A50, 5) + b"hello"
    assert decoded(skipped + zstd.compress(TEXT) + skipped, ["zstd"], LIMIT) == TEXT
    named = gzip.compress(TEXT)
    named = named[:3] + bytes([8]) + named[4:10] + b"body.json\0" + named[10:]
    assert decoded(named, ["gzip"], LIMIT) == TEXT


# ------------------------------------------------------------------ what is broken


def test_a_body_that_ends_too_early(packer: Packer) -> None:
    name, pack = packer
    whole = pack(TEXT)
    for length in range(len(whole)):
        with pytest.raises(BadRequest, match=rf"^the body is no valid {name}: it ends too early$"):
            decoded(whole[:length], [name], LIMIT)


@pytest.mark.parametrize("behind", [b"\0", b"garbage", TEXT, b"\x1f\x8b"])
def test_a_body_with_something_behind(packer: Packer, behind: bytes) -> None:
    name, pack = packer
    with pytest.raises(BadRequest, match=f"^the body is no valid {name}: "):
        decoded(pack(TEXT) + behind, [name], LIMIT)


@pytest.mark.parametrize("name", ["gzip", "zstd", "deflate"])
@pytest.mark.parametrize("data", [TEXT, b"x", b"\xff" * 100, bytes(100)])
def test_a_body_that_is_something_else(name: str, data: bytes) -> None:
    with pytest.raises(BadRequest, match=f"^the body is no valid {name}: "):
        decoded(data, [name], LIMIT)


@given(
    kind=st.sampled_from([*PACKERS]),
    at=st.integers(min_value=0),
    bit=st.integers(min_value=0, max_value=7),
)
def test_a_damaged_body_is_never_a_bug(kind: str, at: int, bit: int) -> None:
    name, pack = PACKERS[kind]
    data = bytearray(pack(TEXT * 9))
    data[at % len(data)] ^= 1 << bit
    with contextlib.suppress(BadRequest, BodyTooLarge):
        decoded(data, [name], LIMIT)


@given(data=st.binary(max_size=300), names=st.lists(st.sampled_from(["gzip", "zstd", "deflate"])))
def test_noise_is_never_a_bug(data: bytes, names: list[str]) -> None:
    with contextlib.suppress(BadRequest, BodyTooLarge):
        decoded(data, names, LIMIT)


# ------------------------------------------------------------------ bombs


def test_a_bomb_takes_no_more_than_the_limit(packer: Packer) -> None:
    name, pack = packer
    bomb = pack(bytes(100 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match=f"{LIMIT} bytes"):
            decoded(bomb, [name], LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMIT
    finally:
        tracemalloc.stop()


def test_a_bomb_in_a_bomb() -> None:
    """The limit holds for what is between the two, too."""
    for name, pack in PACKERS.values():
        for outer, pack_again in PACKERS.values():
            with pytest.raises(BodyTooLarge):
                decoded(pack_again(pack(bytes(50 * MIB))), [name, outer], LIMIT)


def test_a_bomb_of_many_parts() -> None:
    """Each is small, and they would cost much before they are much."""
    for pack, name in ((gzip.compress, "gzip"), (zstd.compress, "zstd")):
        with pytest.raises(BadRequest, match="follow its end"):
            decoded(pack(b"") * (MOST_MEMBERS * 4), [name], LIMIT)
        with pytest.raises(BodyTooLarge):
            decoded(pack(bytes(LIMIT // 8)) * 9, [name], LIMIT)


def test_zstd_with_a_huge_window() -> None:
    """A window of up to 2 GiB is the client's wish; it is memory that the server would take."""
    log = zstd.CompressionParameter.window_log
    long = zstd.CompressionParameter.enable_long_distance_matching

    def frame(window: int) -> bytes:
        packer = zstd.ZstdCompressor(options={log: window, long: 1})
        return packer.compress(TEXT) + packer.flush()

    assert decoded(frame(27), ["zstd"], LIMIT) == TEXT
    # A frame of another window: its descriptor is the byte behind the magic number and the flags.
    data = bytearray(frame(27))
    assert data[5] == (27 - 10) << 3
    for window in (28, 31, 41):
        data[5] = (window - 10) << 3
        with pytest.raises(BadRequest, match="too much memory"):
            decoded(data, ["zstd"], LIMIT)


def test_zstd_that_lies_about_its_size() -> None:
    """It says 2 GiB and brings nothing: nothing is allocated for what it says."""
    head = bytes.fromhex("28b52ffd") + bytes([0b10_1_00000]) + struct.pack("<I", 2**31)
    with pytest.raises(BadRequest):
        decoded(head, ["zstd"], LIMIT)
    dictionary = bytes.fromhex("28b52ffd") + bytes([0b00_1_00001, 7, 25]) + b"x" * 30
    with pytest.raises(BadRequest):
        decoded(dictionary, ["zstd"], LIMIT)
