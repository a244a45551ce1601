"""Conversations with pictures on nodes: the texts of a local worker, also when a worker dies."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from gateway.config.config import EMBEDDED_MODEL
from tests.chaos.test_kill_pictures import GREEDY, TEMPLATE, streams
from tests.conftest import Start
from tests.e2e.test_pictures import seen
from tests.support.dialects import CHAT
from tests.support.killing import whole
from tests.support.projectors import write_pair
from tests.support.ray_nodes import RayNodes, kill
from tests.support.server import DEADLINE_S, ForgeServer

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]


def test_pictures(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], nodes: RayNodes, tmp_path: Path
) -> None:
    model, _ = write_pair("idefics3", EMBEDDED_MODEL, tmp_path, template=TEMPLATE)
    local = start_server("--workers", "2", "--slots", "4", *exact[1], model=model)
    expected, large = [whole(stream) for stream in streams(local)], about_noise(local)
    local.stop()
    shape = ("--cluster", nodes.address, "--workers", "2", "--slots", "4")
    server = start_server(*shape, *exact[1], model=model)
    assert about_noise(server) == large
    running = streams(server)
    for stream in running:
        stream.wait_for(20)
    kill(next(each["pid"] for each in server.workers() if each["busy"]))
    assert [whole(stream) for stream in running] == expected
    server.stop()


def about_noise(server: ForgeServer) -> str:
    """Return the text about a picture of half a megabyte, which crosses in many calls."""
    file, draw = io.BytesIO(), np.random.default_rng(1)
    Image.fromarray(draw.integers(0, 256, (400, 400, 3), np.uint8)).save(file, "PNG")
    assert len(file.getvalue()) > 400_000
    messages = [{"role": "user", "content": [seen(file.getvalue())]}]
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        answer = client.post(CHAT.path, json={"messages": messages, **GREEDY})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text
