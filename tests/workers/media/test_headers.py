"""Headers of pictures and sound: what they say, and files that lie or are damaged."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pictures import FILES, moving, picture, sound
from workers.media.headers import Picture, Sound, UnfitMedium, check, header
from workers.protocol import MediaBounds

BOUNDS = MediaBounds(pixels=10_000, seconds=2.0)


@pytest.mark.parametrize("name", FILES)
def test_each_format_says_how_large_it_is(name: str) -> None:
    kind, data = FILES[name]
    found = header(data)
    assert found.format == name
    if kind == "image":
        assert isinstance(found, Picture)
        assert (found.width, found.height, found.frames) == (96, 64, 1)
    else:
        assert isinstance(found, Sound)
        seconds = {"WAV": 1.0, "FLAC": 4096 / 16000, "MP3": 20 * 576 / 16000}[name]
        assert found.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_no_sound(name: str) -> None:
    kind, data = FILES[name]
    if kind == "image":
        check(data, "image", BOUNDS)
        with pytest.raises(UnfitMedium, match="not a sound"):
            check(data, "audio", BOUNDS)
    else:
        check(data, "audio", BOUNDS)
        with pytest.raises(UnfitMedium, match="not a picture"):
            check(data, "image", BOUNDS)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "BMP"])
def test_pictures_have_a_largest_size(format_: str) -> None:
    check(picture(0, 100, 100, format_), "image", BOUNDS)
    with pytest.raises(UnfitMedium, match="100 x 101 pixels, and 10,000 pixels"):
        check(picture(0, 100, 101, format_), "image", BOUNDS)


def test_a_bomb_is_known_by_its_header() -> None:
    """A PNG of some bytes that says it has 16 million pixels a side."""
    data = bytearray(picture(0))
    data[16:24] = struct.pack(">II", 1 << 24, 1 << 24)
    with pytest.raises(UnfitMedium, match="16777216 x 16777216 pixels"):
        check(bytes(data), "image", MediaBounds())


def test_sound_has_a_longest_length() -> None:
    check(sound(0, 2.0), "audio", BOUNDS)
    with pytest.raises(UnfitMedium, match=r"2\.5 s of sound, and 2 s are the most"):
        check(sound(0, 2.5), "audio", BOUNDS)
    slow = bytearray(sound(0, 1.0))
    slow[24:28] = struct.pack("<I", 10)  # samples per second: it would be made longer
    with pytest.raises(UnfitMedium, match="10 samples per second"):
        check(bytes(slow), "audio", BOUNDS)


def test_pictures_that_move_are_refused() -> None:
    with pytest.raises(UnfitMedium, match="3 frames"):
        check(moving(), "image", BOUNDS)
    still = picture(0)
    control = struct.pack(">I4sII", 8, b"acTL", 5, 0) + bytes(4)
    with pytest.raises(UnfitMedium, match="5 frames"):
        check(still[:33] + control + still[33:], "image", BOUNDS)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"RIFF\x10\0\0\0AVI LIST", r"a video \(AVI\)"),
        (b"\0\0\0\x20ftypisom", r"a video \(MP4\)"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\x1aE\xdf\xa3\x01\0\0\0", "a video"),
        (b"OggS\0\x02", "Ogg"),
        (b"II*\0\x08", "TIFF"),
        (b"8BPS\0\x01", "PSD"),
        (b"<svg xmlns", "SVG"),
        (b"#?RADIANCE\n", "unknown"),
        (b"P6 1 1 255 ", "unknown"),
        (b"\0\0\x02\0\0\0\0\0", "unknown"),
        (b"", "unknown"),
    ],
)
def test_what_is_not_taken_is_named(data: bytes, name: str) -> None:
    """Among them all that stb_image would read, and ffmpeg, without a header of a known form."""
    with pytest.raises(UnfitMedium, match=name):
        header(data)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_is_told_as_such(name: str, data: st.DataObject) -> None:
    """No other exception, and no loop: whatever is cut off, and whatever is written over it."""
    _, file = FILES[name]
    damaged = bytearray(file[: data.draw(st.integers(0, len(file)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged), 64) - 1))] = data.draw(
                st.integers(0, 255)
            )
    with contextlib.suppress(UnfitMedium):
        header(bytes(damaged))


def test_a_long_file_that_only_looks_like_an_mp3_is_given_up() -> None:
    with pytest.raises(UnfitMedium, match="damaged"):
        header(b"ID3\x04\0\0\0\0\0\0" + b"\xff" * 200_000)
