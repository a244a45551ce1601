"""Formats of pictures and sound, told by a file's first bytes. Pure."""

from typing import Literal, NamedTuple


class Format(NamedTuple):
    """A format of files."""

    name: str
    kind: Literal["image", "audio", "other"]
    taken: bool = True
    """False: workers have no decoder for it."""


HEAD = 64
"""Bytes that are looked at."""
_BEGINNINGS: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", Format("PNG", "image")),
    (b"\xff\xd8\xff", Format("JPEG", "image")),
    (b"GIF87a", Format("GIF", "image")),
    (b"GIF89a", Format("GIF", "image")),
    (b"BM", Format("BMP", "image")),
    (b"II*\0", Format("TIFF", "image", taken=False)),
    (b"MM\0*", Format("TIFF", "image", taken=False)),
    (b"fLaC", Format("FLAC", "audio")),
    (b"ID3", Format("MP3", "audio")),
    (b"OggS", Format("Ogg", "audio", taken=False)),
    (b"%PDF-", Format("PDF", "other", taken=False)),
    (b"\x1aE\xdf\xa3", Format("WebM", "other", taken=False)),
    (b"<svg", Format("SVG", "image", taken=False)),
    (b"<?xml", Format("SVG", "image", taken=False)),
)
_BRANDS = {
    b"avif": Format("AVIF", "image", taken=False),
    b"avis": Format("AVIF", "image", taken=False),
    b"heic": Format("HEIC", "image", taken=False),
    b"heix": Format("HEIC", "image", taken=False),
    b"mif1": Format("HEIC", "image", taken=False),
    b"M4A ": Format("M4A", "audio", taken=False),
}
_MPEG_LAYERS = (0xFA, 0xFB, 0xF2, 0xF3, 0xE2, 0xE3)
"""Second bytes of a frame of MPEG 1, 2 or 2.5, layer III."""
TAKEN = {"image": "PNG, JPEG, GIF and BMP", "audio": "WAV, MP3 and FLAC"}
"""The formats that are taken, for errors."""


def format_of(data: bytes | memoryview) -> Format | None:
    """Return the format of a file by its first bytes; None if it is of none that is known."""
    head = bytes(data[:HEAD])
    for beginning, found in _BEGINNINGS:
        if head.startswith(beginning):
            return found
    if head[:4] == b"RIFF" and len(head) >= 12:
        if head[8:12] == b"WAVE":
            return Format("WAV", "audio")
        if head[8:12] == b"WEBP":
            return Format("WebP", "image", taken=False)
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], Format("MP4", "other", taken=False))
    if len(head) > 1 and head[0] == 0xFF and head[1] in _MPEG_LAYERS:
        return Format("MP3", "audio")
    return None


def fault(data: bytes | memoryview, kind: Literal["image", "audio"]) -> str | None:
    """Return why a file can't be taken as a picture or as sound; None if it may be."""
    found = format_of(data)
    what = "a picture" if kind == "image" else "sound"
    if found is None:
        return f"it is not {what} in a format that is known; {TAKEN[kind]} are taken"
    if found.kind != kind or not found.taken:
        return f"it is {found.name}; of {what}, {TAKEN[kind]} are taken"
    return None
