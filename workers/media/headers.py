"""Sizes of pictures and lengths of sound, read from their headers before anything is decoded. Pure.

Formats are known by their first bytes, and only those are let through to libmtmd whose header says
how large the content is: PNG, JPEG, GIF and BMP, WAV, MP3 and FLAC. What libmtmd would give to
ffmpeg (WebP, video) is refused here, as is all that is unknown.
"""

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from workers.protocol import MediaBounds

Kind = Literal["image", "audio"]

MOST_SIDE = 1 << 16
"""Pixels of a side."""
PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
"""WAVE formats whose frames are all of one size."""
MOST_ASTRAY = 100_000
"""Places of an MP3 that look like a frame and are none."""
RATES = range(1_000, 1_000_001)
"""Samples per second that are no mistake."""


class UnfitMedium(Exception):
    """A file that is not decoded; the text says why, as the end of a sentence about the file."""


class Picture(NamedTuple):
    """A picture's header."""

    format: str
    width: int
    height: int
    frames: int = 1


class Sound(NamedTuple):
    """A sound's header."""

    format: str
    seconds: float


def check(data: bytes, kind: Kind, bounds: MediaBounds) -> None:
    """Raise :class:`UnfitMedium` unless a file is of that kind, and within the bounds."""
    found = header(data)
    if isinstance(found, Picture):
        if kind != "image":
            raise UnfitMedium(f"it is a picture ({found.format}), not a sound")
        _check_picture(found, bounds)
        return
    if kind != "audio":
        raise UnfitMedium(f"it is a sound ({found.format}), not a picture")
    if not 0 < found.seconds <= bounds.seconds:
        length = f"{found.seconds:.1f} s of sound"
        raise UnfitMedium(f"it has {length}, and {bounds.seconds:g} s are the most")


def _check_picture(found: Picture, bounds: MediaBounds) -> None:
    width, height = found.width, found.height
    size = f"{width} x {height} pixels"
    if min(width, height) < 1:
        raise UnfitMedium(f"it has {size}")
    if width * height > bounds.pixels or max(width, height) > MOST_SIDE:
        most = f"{bounds.pixels:,} pixels, and {MOST_SIDE:,} of a side, are the most"
        raise UnfitMedium(f"it has {size}, and {most}")
    if found.frames != 1:
        raise UnfitMedium(f"it has {found.frames} frames; pictures that move are not taken")


def header(data: bytes) -> Picture | Sound:
    """Return a file's header. Raises :class:`UnfitMedium` for what is damaged, or not taken."""
    try:
        return _header(data)
    except (struct.error, IndexError) as error:
        raise UnfitMedium("its header is damaged") from error


def _header(data: bytes) -> Picture | Sound:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return _wav(data)
    if data.startswith(b"fLaC"):
        return _flac(data)
    if data.startswith(b"ID3") or (data[:1] == b"\xff" and _mp3_frame(data, 0) is not None):
        return _mp3(data)
    known = _not_taken(data)
    takes = "PNG, JPEG, GIF, BMP, WAV, MP3 and FLAC are taken"
    raise UnfitMedium(f"it is {known}; {takes}" if known else f"its format is unknown; {takes}")


def _not_taken(data: bytes) -> str:
    """Return the name of a format that is known and not taken; "" if it is unknown."""
    if data.startswith(b"RIFF"):
        return {b"WEBP": "WebP", b"AVI ": "a video (AVI)"}.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        brands = {b"avif": "AVIF", b"heic": "HEIC", b"mif1": "HEIF", b"M4A ": "M4A"}
        return brands.get(data[8:12], "a video (MP4)")
    starts = {
        b"\x1aE\xdf\xa3": "a video (Matroska or WebM)",
        b"OggS": "Ogg",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"8BPS": "PSD",
        b"%PDF": "PDF",
        b"<svg": "SVG",
        b"\0\0\1\0": "ICO",
        b"\xff\x0a": "JPEG XL",
    }
    return next((name for start, name in starts.items() if data.startswith(start)), "")


# --------------------------------------------------------------------------- pictures


def _png(data: bytes) -> Picture:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise UnfitMedium("its header is damaged")
    at, frames = 33, 1
    while data[at + 4 : at + 8] not in (b"IDAT", b"IEND", b""):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, at + 8)
        at += 12 + length
    return Picture("PNG", width, height, frames)


def _jpeg(data: bytes) -> Picture:
    at = 2
    while True:
        if data[at] != 0xFF:
            raise UnfitMedium("its header is damaged")
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in (0x00, 0xD8, 0xD9, 0xDA):
            raise UnfitMedium("its header is damaged")
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 3)
            return Picture("JPEG", width, height)
        at += length


def _gif(data: bytes) -> Picture:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames = 13 + _palette(flags), 0
    while (block := data[at]) != 0x3B:
        if block == 0x21:
            at = _after_blocks(data, at + 2)
        elif block == 0x2C:
            frames += 1
            at = _after_blocks(data, at + 11 + _palette(data[at + 9]))
        else:
            raise UnfitMedium("it is damaged")
        if at >= len(data):
            break  # cut off, as some writers leave it
    return Picture("GIF", width, height, frames)


def _palette(flags: int) -> int:
    """Return the bytes of a table of colours."""
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Return where a chain of blocks ends."""
    while size := data[at]:
        at += 1 + size
    return at + 1


def _bmp(data: bytes) -> Picture:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Picture("BMP", width, abs(height))  # rows may go downwards


# --------------------------------------------------------------------------- sound


def _wav(data: bytes) -> Sound:
    frame, rate = 0, 0
    for kind, at, size in _riff(data):
        if kind == b"fmt ":
            code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at)
            if code == EXTENSIBLE:
                (code,) = struct.unpack_from("<H", data, at + 24)
            if code not in (PCM, FLOAT, A_LAW, MU_LAW):
                raise UnfitMedium("it is a WAV whose samples are compressed")
            frame = channels * bits // 8
        elif kind == b"data":
            if frame < 1:
                raise UnfitMedium("its header is damaged")
            return Sound("WAV", size / frame / _rate(rate))
    raise UnfitMedium("it is a WAV without samples")


def _riff(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a RIFF file: name, place and bytes, as far as these are there."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, min(size, len(data) - at - 8)
        at += 8 + size + size % 2


def _rate(rate: int) -> int:
    if rate not in RATES:
        raise UnfitMedium(f"it has {rate} samples per second")
    return rate


def _flac(data: bytes) -> Sound:
    if data[4] & 0x7F != 0:
        raise UnfitMedium("its header is damaged")
    (packed,) = struct.unpack_from(">Q", data, 18)
    rate, samples = packed >> 44, packed & ((1 << 36) - 1)
    if not samples:
        raise UnfitMedium("its header does not say how long it is")
    return Sound("FLAC", samples / _rate(rate))


_BITRATES = {
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of MPEG 1 (3) and 2 (2), by layer as the header has it: 3 is layer I. In kbit/s."""
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3_frame(data: bytes, at: int) -> tuple[int, float] | None:
    """Return the bytes and the seconds of a frame; None where there is none."""
    if at + 4 > len(data):
        return None
    (word,) = struct.unpack_from(">I", data, at)
    version, layer = word >> 19 & 3, word >> 17 & 3
    bits, frequency, padding = word >> 12 & 15, word >> 10 & 3, word >> 9 & 1
    if word >> 21 != 0x7FF or version == 1 or layer == 0 or frequency == 3 or bits in (0, 15):
        return None
    rate = _MP3_RATES[version][frequency]
    kbits = _BITRATES[(3 if version == 3 else 2, layer)][bits]
    if layer == 3:
        return (12_000 * kbits // rate + padding) * 4, 384 / rate
    samples = 576 if layer == 1 and version != 3 else 1152
    return samples * 125 * kbits // rate + padding, samples / rate


def _mp3(data: bytes) -> Sound:
    at, seconds, astray = 0, 0.0, 0
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size
    while (at := data.find(b"\xff", at)) >= 0:
        frame = _mp3_frame(data, at)
        if frame is None:
            at, astray = at + 1, astray + 1
            if astray > MOST_ASTRAY:
                raise UnfitMedium("it is damaged")
            continue
        at += frame[0]
        seconds += frame[1]
    if not seconds:
        raise UnfitMedium("it is an MP3 without sound")
    return Sound("MP3", seconds)
