"""The instrument of forge tune: one worker's engine and context, without a gateway."""

import gc
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import spec
from workers.protocol import Loaded, Measure, Measured, MeasureFailed, Rate, WorkerSpec
from workers.tools.measure import memory, serve


def ask(wanted: WorkerSpec, *questions: Measure) -> list[msgspec.Struct]:
    lines = [msgspec.json.encode(message) + b"\n" for message in (wanted, *questions)]
    answers: list[msgspec.Struct] = []
    serve(io.BytesIO(b"".join(lines)), answers.append)
    return answers


def rates(answer: msgspec.Struct) -> dict[int, float]:
    assert isinstance(answer, Measured)
    assert answer.memory > 1 << 20
    assert all(isinstance(rate, Rate) and rate.tokens_per_s > 0 for rate in answer.rates)
    return {rate.size: rate.tokens_per_s for rate in answer.rates}


def test_everything_that_is_measured() -> None:
    # So patient that nothing is left out on a busy machine; the steps are few all the same.
    loaded, decode, prefill, mix, again = ask(
        spec(EMBEDDED_MODEL, n_ctx=1024),
        Measure("decode", [1, 4], 60.0),
        Measure("prefill", [32, 128, 512], 0.001),
        Measure("mix", [1, 4], 0.001),
        Measure("mix", [4], 0.001),
    )
    assert loaded == Loaded(n_ctx=1024)
    assert set(rates(decode)) == {1, 4}
    assert set(rates(prefill)) <= {32, 128}, "512 are more than a step holds"
    assert set(rates(mix)) == {1, 4}
    assert set(rates(again)) == {4}


def test_after_many_tokens() -> None:
    """Or as many as there is room for."""
    _, decode, prefill, little = ask(
        spec(EMBEDDED_MODEL, n_ctx=1024),
        Measure("decode", [2], 0.001, 300),
        Measure("prefill", [128], 0.001, 300),
        Measure("prefill", [128], 0.001, 5000),
    )
    assert set(rates(decode)) == {2}
    assert set(rates(prefill)) == set(rates(little)) == {128}


def test_few_cells() -> None:
    """Streams that find no room are not measured; the engine's have to take turns."""
    _, decode, mix = ask(
        spec(EMBEDDED_MODEL, n_ctx=256),
        Measure("decode", [1, 32, 64], 60.0),
        Measure("mix", [4], 0.001),
    )
    assert set(rates(decode)) == {1, 32}
    assert set(rates(mix)) == {4}


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(64))
    (answer,) = ask(spec(bad))
    assert isinstance(answer, MeasureFailed)
    assert "bad.gguf" in answer.message


def test_memory_is_that_of_this_process() -> None:
    gc.collect()  # else what earlier tests left may be freed in between
    before = memory()
    ballast = bytearray(b"x" * (64 << 20))
    assert memory() - before > 32 << 20
    assert len(ballast) == 64 << 20


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[int]]:
    """Two processes with a model that nobody else on this machine has open."""
    model = tmp_path / "own.gguf"
    model.write_bytes(EMBEDDED_MODEL.read_bytes())
    line = msgspec.json.encode(spec(model)) + b"\n"
    command = [sys.executable, "-m", "workers.tools.measure"]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert b"loaded" in process.stdout.readline()
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.communicate()  # EOF on its stdin is the end


def mapped(pid: int, name: str) -> tuple[int, int]:
    """RSS and PSS in KiB of the parts of a file that are mapped."""
    sizes, ours = {"Rss": 0, "Pss": 0}, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.endswith(name)
        elif ours and line.split(":")[0] in sizes:
            sizes[line.split(":")[0]] += int(line.split()[1])
    return sizes["Rss"], sizes["Pss"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_that_are_not_repacked_are_there_once(two: list[int]) -> None:
    size = EMBEDDED_MODEL.stat().st_size // 1024
    for pid in two:
        rss, pss = mapped(pid, "own.gguf")
        assert rss > 0.5 * size
        assert pss == pytest.approx(rss / 2, rel=0.02)
