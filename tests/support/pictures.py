"""Small pictures and sounds in each format that is taken, drawn by numbers."""

import io
import struct
import wave

import numpy as np
from PIL import Image

from workers.protocol import Medium, medium


def pixels(seed: int, width: int, height: int) -> Image.Image:
    """Blocks of random colours, so that no two seeds look alike, however they are scaled."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def picture(seed: int, width: int = 96, height: int = 64, format_: str = "PNG") -> bytes:
    """Return the file of a picture."""
    file = io.BytesIO()
    pixels(seed, width, height).save(file, format_)
    return file.getvalue()


def moving(frames: int = 3) -> bytes:
    """Return a GIF with several frames."""
    file = io.BytesIO()
    first, *rest = (pixels(seed, 32, 32) for seed in range(frames))
    first.save(file, "GIF", save_all=True, append_images=rest)
    return file.getvalue()


def samples(seed: int, seconds: float, rate: int = 16_000) -> bytes:
    """Return 16 bit samples of a chord that depends on the seed."""
    at = np.arange(int(seconds * rate)) / rate
    tones = np.random.default_rng(seed).uniform(100, 3000, 3)
    wave_ = sum(np.sin(2 * np.pi * tone * at) for tone in tones)
    return (np.asarray(wave_) * 8000).astype("<i2").tobytes()


def sound(seed: int, seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """Return a WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples(seed, seconds, rate))
    return file.getvalue()


def flac(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """Return a FLAC of silence: blocks of constant samples, written by hand."""
    blocks, size = int(seconds * rate) // 4096, 4096
    info = struct.pack(">HH", size, size) + bytes(6)
    info += (rate << 44 | 0 << 41 | 15 << 36 | blocks * size).to_bytes(8) + bytes(16)
    frames = b"".join(_flac_frame(number) for number in range(blocks))
    return b"fLaC" + bytes([0x80, 0, 0, 34]) + info + frames


def _flac_frame(number: int) -> bytes:
    head = b"\xff\xf8\xc0\x08" + bytes([number])  # 4096 samples, 16 bits, mono; rate as above
    body = head + bytes([_crc(head, 8, 0x07)]) + b"\x00\x00\x00"  # one constant subframe
    return body + _crc(body, 16, 0x8005).to_bytes(2)


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (bits - 1) & 1 else 0)
            value &= (1 << bits) - 1
    return value


def mp3(frames: int = 20) -> bytes:
    """Return an MP3 of silence: frames of zeros at 32 kbit/s, 16 kHz, mono."""
    frame = b"\xff\xf3\x48\xc0" + bytes(144 - 4)  # MPEG 2, layer III: 72 * 32000 / 16000 bytes
    return frame * frames


FILES = {
    "PNG": ("image", picture(1)),
    "JPEG": ("image", picture(1, format_="JPEG")),
    "GIF": ("image", picture(1, format_="GIF")),
    "BMP": ("image", picture(1, format_="BMP")),
    "WAV": ("audio", sound(1)),
    "FLAC": ("audio", flac()),
    "MP3": ("audio", mp3()),
}
"""One of each format, with its kind."""


def image(
    seed: int,
    param: str = "messages.0.content.1.image_url",
    width: int = 96,
    height: int = 64,
) -> Medium:
    """Return a picture as the gateway sends it."""
    return medium("image", picture(seed, width, height), param)


def audio(seed: int, seconds: float = 1.0, param: str = "messages.0.content.1") -> Medium:
    """Return a sound as the gateway sends it."""
    return medium("audio", sound(seed, seconds), param)
