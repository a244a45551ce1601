"""A worker or its media encoder dies under conversations with pictures: no text changes."""

import base64
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.conftest import Start
from tests.support.dialects import DIALECTS
from tests.support.killing import healthy, kill, whole
from tests.support.pictures import picture
from tests.support.projectors import write_pair
from tests.support.server import ForgeServer, eventually, gone
from tests.support.traffic import StreamOf
from tests.workers.test_media_worker import encoder_of

pytestmark = pytest.mark.usefixtures("unmeasured")

(CHAT,) = (each for each in DIALECTS if each.path == "/v1/chat/completions")
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 150}
SAMPLED: dict[str, Any] = {**GREEDY, "temperature": 1, "seed": 3}


@pytest.fixture(params=["idefics3", "qwen2vl"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model with its projector beside it; of the second kind positions are no cells."""
    return write_pair(request.param, EMBEDDED_MODEL, tmp_path, template=TEMPLATE)[0]


def seen(seed: int) -> dict[str, Any]:
    address = "data:image/png;base64," + base64.b64encode(picture(seed)).decode()
    return {"type": "image_url", "image_url": {"url": address}}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def body(which: int, **params: Any) -> dict[str, Any]:
    """A conversation with two pictures, one of them in an earlier turn."""
    messages = [
        {"role": "user", "content": [said("What "), seen(1), said("?")]},
        {"role": "assistant", "content": "A tree."},
        {"role": "user", "content": [seen(which), said("!")]},
    ]
    return {"messages": messages, "stream": True, **params}


def streams(server: ForgeServer) -> list[StreamOf]:
    return [
        StreamOf(CHAT, server, body(seed, **params))
        for seed in (2, 3)
        for params in (GREEDY, SAMPLED)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_dies(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], served: Path, workers: int
) -> None:
    shape = ("--workers", str(workers), "--slots", str(4 // workers))
    server = start_server(*shape, *exact[1], model=served)
    expected = [whole(stream) for stream in streams(server)]
    assert len(set(expected)) > 1
    running = streams(server)
    for stream in running:
        stream.wait_for(20)
    for pid in server.pids():
        kill(pid)
    assert [whole(stream) for stream in running] == expected
    healthy(server, workers)


def test_its_encoder_dies(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], served: Path
) -> None:
    """Streams go on, no worker is replaced, and pictures are taken as before."""
    server = start_server("--workers", "1", "--slots", "4", *exact[1], model=served)
    expected = [whole(stream) for stream in streams(server)]
    running = streams(server)
    for stream in running:
        stream.wait_for(20)
    encoder = encoder_of(server.pids()[0])
    os.kill(encoder, signal.SIGKILL)
    eventually(lambda: gone(encoder), "the encoder ends")
    assert [whole(stream) for stream in running] == expected
    new = [StreamOf(CHAT, server, body(9, **GREEDY)) for _ in range(2)]
    assert len({whole(stream) for stream in new}) == 1
    healthy(server, 0)


def test_prefixes_on_the_disk_have_their_pictures(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], served: Path, tmp_path: Path
) -> None:
    """Another server finds the cells of a picture, and no cells of another one."""
    options = ("--workers", "1", "--slots", "2", "--cache-disk", "64", *exact[1])
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    pad = said("and a long text about the hills and the woods and the towns " * 8)

    def told(server: ForgeServer, seed: int) -> tuple[str, int]:
        content = [said("What "), seen(seed), pad]
        asked = {"messages": [{"role": "user", "content": content}], **GREEDY}
        with server.client() as client:
            found = client.post(CHAT.path, json=asked).json()
        cached: int = found["usage"]["prompt_tokens_details"]["cached_tokens"]
        return found["choices"][0]["message"]["content"], cached

    first = start_server(*options, model=served, env=env)
    texts = {seed: told(first, seed)[0] for seed in (1, 2)}
    folder = tmp_path / "cache" / "forge" / "prefixes"
    eventually(lambda: len(list(folder.rglob("*.kv"))) >= 2, "both are on the disk")
    first.stop()
    second = start_server(*options, model=served, env=env)
    for seed in (2, 1):
        text, cached = told(second, seed)
        assert text == texts[seed]
        assert cached > 64
    assert told(second, 3)[1] < 64
    second.stop()
