"""Streams of different adapters, in the smallest form of the experiment."""

from pathlib import Path

import pytest

from bench.adapters.__main__ import ONE, STREAMS, TWO, WAYS, measure, report
from bench.server import running
from gateway.config.config import EMBEDDED_MODEL
from tests.support.adapters import random_lora

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_a_small_run(tmp_path: Path) -> None:
    files = [
        f"{name}={random_lora(EMBEDDED_MODEL, seed).write(tmp_path / name)}"
        for seed, name in enumerate((ONE, TWO))
    ]
    shape = ("--workers", "1", "--slots", str(STREAMS), "--threads", "1", "--alias", "base")
    with running(*shape, "--adapters", ",".join(files)) as server:
        server.wait_ready()
        found = measure(server, 1, 8)
    assert set(found) == set(WAYS)
    assert all(each.rate > 0 and each.cpu_ms > 0 for rounds in found.values() for each in rounds)
    text = report(found, "a model", 8)
    headings = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert headings[2:] == list(WAYS)
