"""After a reload to another file no request reads what the old file computed, wherever it is kept.

Both files have layers of the same shapes and other weights: what one has computed would fit into
the other, and give words that neither writes.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Start
from tests.support.dialects import CHAT
from tests.support.f32 import f32_copy
from tests.support.reloading import ADMIN, CLIENT, House, changes, reload, settled
from tests.support.server import MODEL, ForgeServer, eventually
from tests.support.traffic import StreamOf

OPTIONS = (
    "threads = 1",
    "cache-type-k = 'f32'",
    "cache-type-v = 'f32'",
    "flash-attn = 'off'",
    "cache-ram = 64",
    "cache-disk = 64",
    "workers = 2",
    "slots = 2",
    "quantum = 0",
)
NAMES = ("Vera", "Tom", "Mia", "Leo", "Sam", "Ida", "Oto", "Ben")
LONG = 600
"""Tokens of a stream that is still at it when the model is replaced."""


def prompt(name: str) -> str:
    """A text that begins as no other does, and goes on with what it has told."""
    return (
        f"{name} was a clever cat and lived on a little island. " * 10 + f"One evening {name} saw"
    )


class Said(NamedTuple):
    text: str
    cached: int


def say(server: ForgeServer, name: str, **params: object) -> Said:
    body = {"prompt": prompt(name), "temperature": 0, "max_tokens": 24, "ignore_eos": True}
    with server.client(Authorization=f"Bearer {CLIENT}") as client:
        response = client.post("/v1/completions", json={**body, **params})
    assert response.status_code == 200, response.text
    told = response.json()
    cached = told["usage"]["prompt_tokens_details"]["cached_tokens"]
    return Said(told["choices"][0]["text"], cached)


def stream(server: ForgeServer, name: str, tokens: int, priority: float = 0) -> StreamOf:
    body = {
        "messages": [{"role": "user", "content": prompt(name)}],
        "stream": True,
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
        "priority": priority,
    }
    return StreamOf(CHAT, server, body, {"Authorization": f"Bearer {CLIENT}"})


class Model(NamedTuple):
    """A file, and what a server says that never had another."""

    file: Path
    texts: Mapping[str, str]
    streamed: Mapping[str, str]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    found = []
    for other in (False, True):
        folder = tmp_path_factory.mktemp("undisturbed")
        file = folder / "model.gguf"
        f32_copy(MODEL, file, other=other)
        house = House(folder, *OPTIONS, model=file)
        env = {"XDG_CACHE_HOME": str(folder / "cache")}
        server = ForgeServer(
            folder / "log", "--config", str(house.file), model=None, key=ADMIN, env=env
        )
        with server.serving():
            texts = {name: say(server, name).text for name in NAMES}
            streams = {name: stream(server, name, LONG) for name in NAMES}
            streamed = {name: each.finish() for name, each in streams.items()}
        found.append(Model(file, texts, streamed))
    old, new = found
    for name in NAMES:
        assert old.texts[name] != new.texts[name]
        assert old.streamed[name][:200] != new.streamed[name][:200]
    return old, new


@pytest.fixture
def house(tmp_path: Path, models: tuple[Model, Model]) -> House:
    return House(tmp_path, *OPTIONS, model=models[0].file)


def warm(start_server: Start, house: House, old: Model) -> ForgeServer:
    """Start a server whose old file has computed all prompts: in slots, in memory, on the disk."""
    cache = house.folder / "cache"
    server = start_server(
        "--config", str(house.file), model=None, key=ADMIN, env={"XDG_CACHE_HOME": str(cache)}
    )
    for name in NAMES:
        assert say(server, name) == Said(old.texts[name], 0)
        assert say(server, name).cached > 50
    eventually(lambda: len(list(cache.rglob("*.kv"))) >= len(NAMES), "all are on the disk")
    return server


def test_from_memory_and_disk(
    start_server: Start, house: House, models: tuple[Model, Model]
) -> None:
    """Neither by the new workers nor by their successors; each file finds its own again."""
    old, new = models
    server = warm(start_server, house, old)
    house.put(new.file)
    assert changes(reload(server).json()) == {"served": "replaced"}
    for name in NAMES:
        assert say(server, name) == Said(new.texts[name], 0)
        again = say(server, name)
        assert again.text == new.texts[name]
        assert again.cached > 50
    settled(server, 2)
    for pid in server.pids():
        os.kill(pid, signal.SIGKILL)
    for name in NAMES:
        assert say(server, name).text == new.texts[name], "its successors read the new file's"
    house.put(old.file)
    assert changes(reload(server).json()) == {"served": "replaced"}
    for name in NAMES:
        assert say(server, name).text == old.texts[name]


@pytest.mark.parametrize("killed", [False, True], ids=["", "and its workers are killed"])
def test_of_work_that_was_begun(
    start_server: Start, house: House, models: tuple[Model, Model], killed: bool
) -> None:
    """Streams that run, that are parked for more urgent ones, and that wait for a first slot.

    What has begun ends with the old file's words, on its workers or their successors; what has not
    begins with the new file's, and finds nothing computed.
    """
    old, new = models
    server = warm(start_server, house, old)
    parked = [stream(server, name, LONG) for name in NAMES[:4]]
    for each in parked:
        each.wait_for(3)
    urgent = [stream(server, name, LONG, priority=2) for name in NAMES[4:]]
    for each in urgent:
        each.wait_for(3)
    waiting = [stream(server, name, 40, priority=-1) for name in NAMES]
    eventually(lambda: len(server.waiting()) >= 8, "they wait")
    house.put(new.file)
    assert changes(reload(server).json()) == {"served": "replaced"}
    if killed:
        for worker in server.workers():
            os.kill(worker["pid"], signal.SIGKILL)
    for name, each in zip(NAMES, [*parked, *urgent], strict=True):
        assert each.finish() == old.streamed[name]
        assert (each.error, each.broken) == (None, None)
    for name, each in zip(NAMES, waiting, strict=True):
        text = each.finish()
        assert (each.error, each.broken) == (None, None)
        assert text == new.streamed[name][: len(text)] or text == old.streamed[name][: len(text)]
    for name in NAMES:
        assert say(server, name).text == new.texts[name]
    settled(server, 2)
