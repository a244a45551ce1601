"""LoRA adapters on nodes: the texts of local workers, also when a worker dies."""

from pathlib import Path

import pytest

from tests.chaos.test_kill_adapters import GREEDY, NAMES, SAMPLED, asked, load
from tests.conftest import Start
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.adapters import random_lora
from tests.support.killing import whole
from tests.support.ray_nodes import RayNodes, kill, parent
from tests.support.server import eventually
from tests.support.traffic import Streaming

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]


def test_adapters(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], nodes: RayNodes, tmp_path: Path
) -> None:
    model, options = exact
    for seed, name in enumerate(("one", "two", "late")):
        random_lora(model, seed).write(tmp_path / f"{name}.gguf")
    named = ",".join(f"{name}={tmp_path / name}.gguf" for name in ("one", "two"))
    shape = ("--slots", "4", *options, "--adapters", named, "--lora-dir", str(tmp_path))
    local = start_server("--workers", "2", *shape, model=model)
    jobs = [
        (PROMPTS[at], asked(name, **params))
        for at, (name, params) in enumerate((n, p) for p in (GREEDY, SAMPLED) for n in NAMES)
    ]
    expected = [alone(local, prompt, **params) for prompt, params in jobs]
    load(local, "late")
    late = alone(local, PROMPTS[0], model="late", **GREEDY)
    assert late not in expected
    local.stop()

    server = start_server("--cluster", nodes.address, "--workers", "3", *shape, model=model)
    streams = [Streaming(server, prompt, **params) for prompt, params in jobs]
    for stream in streams:
        stream.wait_for(20)
    kill(parent(next(each["pid"] for each in server.workers() if each["busy"])))
    assert [whole(stream) for stream in streams] == expected
    load(server, "late")
    assert alone(server, PROMPTS[0], model="late", **GREEDY) == late
    eventually(lambda: all(each["state"] == "ready" for each in server.workers()), "they serve")
    server.stop()
