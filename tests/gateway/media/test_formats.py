"""Formats by their first bytes."""

import pytest

from gateway.media.formats import fault, format_of

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
WAV = b"RIFF\0\0\0\0WAVEfmt "


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (PNG, "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"GIF89a", "GIF"),
        (b"BM\0\0", "BMP"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (WAV, "WAV"),
        (b"ID3\x04", "MP3"),
        (b"\xff\xfb\x90\0", "MP3"),
        (b"fLaC", "FLAC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x1cftypisom", "MP4"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_known_formats(head: bytes, name: str) -> None:
    found = format_of(head)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("head", [b"", b"\xff", b"RIFF", b"hello", b"<html>", b"\xff\x00\x00"])
def test_what_is_none(head: bytes) -> None:
    assert format_of(head) is None
    assert fault(head, "image") is not None


def test_a_sound_is_no_picture() -> None:
    assert fault(PNG, "image") is None
    assert fault(WAV, "audio") is None
    assert "WAV" in (fault(WAV, "image") or "")
    assert "PNG" in (fault(PNG, "audio") or "")
    assert "PNG, JPEG" in (fault(b"RIFF\0\0\0\0WEBP", "image") or ""), "workers have no decoder"
