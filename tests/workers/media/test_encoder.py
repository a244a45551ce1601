"""The process that decodes and encodes media: its bounds, and what breaks it."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.media_driver import Seeing, media_spec, seeing
from tests.support.pictures import FILES, audio, image, moving, picture, sound
from tests.support.projectors import PROJECTORS, write_pair
from workers.media.encoder import EncoderFailed, MediaEncoder
from workers.media.messages import MediumRows, Words
from workers.protocol import BAD_MEDIA, COMPUTE_FAILED, NOT_SUPPORTED, Medium, medium
from workers.refused import InputRefused

FIELD = "messages.0.content.1.image_url"
EACH = {"image": 40, "audio": 8}
"""Damaged files of each format; the encoder takes half a minute of sound each time."""


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeing]:
    with seeing("idefics3", tmp_path_factory.mktemp("eyes"), pixels=1 << 20, seconds=3.0) as made:
        yield made


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeing]:
    with seeing("ultravox", tmp_path_factory.mktemp("ears"), seconds=3.0) as made:
        yield made


def refusal(encoder: MediaEncoder, wanted: Medium) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        encoder.encode(wanted)
    assert caught.value.param == wanted.param
    assert str(caught.value).startswith(f"'{wanted.param}': ")
    return caught.value


def encoder_of(made: Seeing, name: str) -> MediaEncoder:
    assert made.source.sees is (FILES[name][0] == "image")
    return made.encoder


def test_a_picture_becomes_rows_among_the_words_of_its_slices(eyes: Seeing) -> None:
    found = eyes.encoder.encode(image(1))
    rows = [piece for piece in found.pieces if isinstance(piece, MediumRows)]
    words = [piece for piece in found.pieces if isinstance(piece, Words)]
    assert [piece.count for piece in rows] == [16] * 5, "four slices, and all of it"
    assert all(len(piece.values) == 16 * 64 * 4 for piece in rows)
    assert len(words) == 6
    assert found.count == 80 + sum(len(piece.ids) for piece in words)
    assert found == eyes.encoder.encode(image(1))
    assert found != eyes.encoder.encode(image(2))
    assert eyes.encoder.encode(image(1), rows=False) == found.layout


@pytest.mark.parametrize("name", FILES)
def test_each_format(name: str, eyes: Seeing, ears: Seeing) -> None:
    kind, data = FILES[name]
    wanted = medium("image" if kind == "image" else "audio", data, FIELD)
    assert encoder_of(eyes if kind == "image" else ears, name).encode(wanted).count > 80


def test_a_model_says_what_it_does_not_take(eyes: Seeing, ears: Seeing) -> None:
    for made, wanted, what in ((eyes, audio(1), "sound"), (ears, image(1), "pictures")):
        with pytest.raises(InputRefused, match=f"this model does not take {what}") as caught:
            made.source.slot(wanted)
        assert (caught.value.code, caught.value.param) == (NOT_SUPPORTED, wanted.param)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (picture(0, 2000, 1000), "2000 x 1000 pixels"),
        (moving(), "3 frames"),
        (sound(1), "it is a sound"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x20ftypisom" + bytes(100), "a video"),
        (b"", "unknown"),
        (picture(0)[:200], "damaged"),
    ],
)
def test_what_is_refused(eyes: Seeing, data: bytes, reason: str) -> None:
    found = refusal(eyes.encoder, medium("image", data, FIELD))
    assert found.code == BAD_MEDIA
    assert reason in str(found)


def test_sound_that_is_too_long(ears: Seeing) -> None:
    assert "3.5 s of sound" in str(refusal(ears.encoder, audio(1, 3.5)))


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_harm_no_other(name: str, eyes: Seeing, ears: Seeing) -> None:
    """Bytes changed anywhere, pieces cut out, ends cut off: refused, or taken for what is left."""
    kind, data = FILES[name]
    made = eyes if kind == "image" else ears
    good = image(1) if kind == "image" else audio(1)
    before = made.encoder.encode(good)
    rng = random.Random(name)
    for at in range(EACH[kind]):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if at % 2:
            start = rng.randrange(len(damaged))
            del damaged[start : start + rng.randrange(len(damaged))]
        wanted = medium("image" if kind == "image" else "audio", bytes(damaged), FIELD)
        with contextlib.suppress(InputRefused):
            assert made.encoder.encode(wanted).count > 0
    assert made.encoder.encode(good) == before


def test_another_process_takes_the_place_of_one_that_died(eyes: Seeing) -> None:
    before, pid = eyes.encoder.encode(image(1)), eyes.encoder.pid
    os.kill(pid, signal.SIGKILL)
    while eyes.encoder._process.poll() is None:
        time.sleep(0.01)
    assert eyes.encoder.encode(image(1)) == before
    assert eyes.encoder.pid != pid


def test_one_that_dies_over_a_medium_costs_that_request(eyes: Seeing) -> None:
    pid = eyes.encoder.pid
    with ThreadPoolExecutor(1) as thread:
        os.kill(pid, signal.SIGSTOP)
        asked = thread.submit(refusal, eyes.encoder, image(3))
        while not eyes.encoder._turn.locked():
            time.sleep(0.01)
        os.kill(pid, signal.SIGABRT)
        os.kill(pid, signal.SIGCONT)
        found = asked.result()
    assert found.code == COMPUTE_FAILED
    assert "its encoder ended with SIGABRT" in str(found)
    assert eyes.encoder.encode(image(3)).count > 80
    assert eyes.encoder.pid != pid


def test_a_projector_that_aborts_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are not as many as its header says; no request need find that out."""
    monkeypatch.setitem(PROJECTORS["ultravox"].metadata, "audio.projector.stack_factor", 7)
    aborted = pytest.raises(EncoderFailed, match=r"ultravox\.gguf: its encoder ended with SIGABRT")
    with aborted, seeing("ultravox", tmp_path):
        pass


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    with seeing("idefics3", tmp_path, timeout_s=0.5) as made:
        pid = made.encoder.pid
        os.kill(pid, signal.SIGSTOP)
        found = refusal(made.encoder, image(1))
        assert found.code == COMPUTE_FAILED
        assert "took more than 0.5 s" in str(found)
        made.encoder.open()
        assert made.encoder.pid != pid
        assert made.encoder.encode(image(1)).count > 80


def test_no_other_program_is_run(
    eyes: Seeing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libmtmd would ask ffprobe about what stb_image can't read, and ffmpeg for WebP."""
    told = tmp_path / "told"
    for name in ("ffprobe", "ffmpeg"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho run >> {told}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    encoder = MediaEncoder(eyes.spec)
    try:
        encoder.open()
        for data in (picture(0)[:200], picture(0)[:60], b"RIFF\0\0\0\0WEBPVP8 "):
            refusal(encoder, medium("image", data, FIELD))
    finally:
        encoder.close()
    assert not told.exists()


def test_a_projector_of_another_model(eyes: Seeing, tmp_path: Path) -> None:
    _, other = write_pair("qwen2vl", EMBEDDED_MODEL, tmp_path)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(other.read_bytes()[:1000])
    for path, reason in ((broken, "broken.gguf"), (tmp_path / "absent.gguf", "absent.gguf")):
        encoder = MediaEncoder(media_spec(eyes.path, path))
        try:
            with pytest.raises(EncoderFailed, match=reason):
                encoder.open()
        finally:
            encoder.close()


def test_a_medium_is_met_anew_in_each_scope(eyes: Seeing) -> None:
    """How long an answer takes must not tell a key that another one has sent the same picture."""
    wanted, before = image(77), eyes.encoder.encoded
    for scope in ("one", "one", "other", "one"):
        eyes.source.encode_new([eyes.source.slot(wanted, scope)])
    assert eyes.encoder.encoded == before + 2
    keys = {eyes.source.slot(wanted, scope).key for scope in ("", "one", "other")}
    assert len(keys) == 3
    tokens = [eyes.source.placed(eyes.source.slot(wanted, each), 0)[0] for each in ("", "other")]
    assert tokens[0] == tokens[1], "a prompt is the same, whoever sends it"
