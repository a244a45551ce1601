"""A running server reads its files again: the model, options and keys, and no request fails."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.served.replacement import OVERDUE
from tests.conftest import Start
from tests.support.adapters import random_lora
from tests.support.dialects import CHAT
from tests.support.reloading import (
    ADMIN,
    CLIENT,
    LATER,
    PROMPTS,
    House,
    Load,
    changes,
    completed,
    reload,
    report,
    settled,
    two_models,
)
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.traffic import StreamOf

EXACT = (
    "threads = 1",
    "cache-type-k = 'f32'",
    "cache-type-v = 'f32'",
    "flash-attn = 'off'",
    "cache-ram = 64",
)
SHAPE = ("workers = 2", "slots = 4")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return two_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def texts(
    models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, str]]:
    """The texts of each of the models, by the prompts."""
    found = []
    for model in models:
        house = House(tmp_path_factory.mktemp("alone"), *EXACT, *SHAPE, model=model)
        server = ForgeServer(
            house.folder / "log", "--config", str(house.file), model=None, key=ADMIN
        )
        with server.serving():
            found.append({prompt: completed(server, prompt) for prompt in PROMPTS})
    assert all(found[0][prompt] != found[1][prompt] for prompt in PROMPTS)
    return found


def test_a_model_an_option_and_a_key_under_load(
    start_server: Start, tmp_path: Path, models: tuple[Path, Path], texts: list[dict[str, str]]
) -> None:
    house = House(tmp_path, *EXACT, *SHAPE, model=models[0])
    server = house.start(start_server)
    load = Load(server, 8)
    load.more(8)
    house.put(models[1])
    told = reload(server).json()
    assert (told["state"], changes(told)) == ("done", {"served": "replaced"})
    assert told["models"][0]["reason"] == "new content of the file"
    assert completed(server, PROMPTS[0]) == texts[1][PROMPTS[0]]
    house.key("later", LATER)
    told = reload(server).json()
    assert (told["keys"], changes(told)) == (True, {"served": "unchanged"})
    assert completed(server, PROMPTS[0], key=LATER) == texts[1][PROMPTS[0]]
    house.write(
        "ctx = 2048", "max-body = 100000", "max-connections = 99", "sampling = {temperature = 0.5}"
    )
    told = reload(server).json()
    assert told["models"][0] == {"model": "served", "change": "replaced", "reason": "new ctx"}
    assert (told["options"], told["restart"]) == (["max-body"], ["max-connections"])
    load.more(8)
    load.end()
    assert load.failures == []
    known = {(prompt, each[prompt]) for prompt in PROMPTS for each in texts}
    assert load.texts.keys() <= known, "no text is of two models"
    settled(server, 2)


def test_an_error_changes_nothing(
    start_server: Start, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    """Neither what is wrong nor what is right beside it."""
    house = House(tmp_path, *EXACT, *SHAPE, model=models[0])
    server = house.start(start_server)
    pids, before = server.pids(), completed(server, PROMPTS[0])
    house.put(models[1])
    house.key("later", LATER)
    house.write("ctx = 'large'", "max-body = 2000")
    answer = reload(server)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "reload_refused"
    assert f"ctx in {house.file}: expected 'auto' or a whole number" in error["message"]
    assert report(server)["state"] == "refused"
    assert "forge.reload nothing was changed: ctx in" in server.stderr
    assert server.pids() == pids
    assert completed(server, PROMPTS[0]) == before
    with server.client(Authorization=f"Bearer {LATER}") as client:
        assert client.get("/v1/models").status_code == 401
    house.write()
    house.keys.write_text("[[key]]\nname = 'x'\n")
    assert "'key' is missing" in reload(server).json()["error"]["message"]
    house.keys.unlink()
    assert reload(server).status_code == 422
    house.write("model = 'nowhere.gguf'")  # said twice
    assert "is not valid TOML" in reload(server).json()["error"]["message"]
    assert completed(server, PROMPTS[0]) == before


def test_a_damaged_model_leaves_the_old_one(
    start_server: Start, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    house = House(tmp_path, *EXACT, *SHAPE, model=models[0])
    server = house.start(start_server)
    before = completed(server, PROMPTS[0])
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(models[1].read_bytes()[:200_000])
    house.put(damaged)
    answer = reload(server)
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "reload_failed"
    assert changes(report(server)) == {"served": "failed"}
    os.kill(server.pids()[0], signal.SIGKILL)
    settled(server, 2)
    assert completed(server, PROMPTS[0]) == before, "its successor computes the old file"
    house.put(models[1])
    assert changes(reload(server).json()) == {"served": "replaced"}
    assert completed(server, PROMPTS[0]) != before


@pytest.mark.parametrize("workers", [1, 2])
def test_where_memory_is_short_it_goes_worker_by_worker(
    start_server: Start,
    tmp_path: Path,
    models: tuple[Path, Path],
    texts: list[dict[str, str]],
    workers: int,
) -> None:
    """The budget has no room for both; with one worker the queue waits, and nothing fails."""
    shape = (f"workers = {workers}", "slots = 4", "memory-budget = 200")
    house = House(tmp_path, *EXACT, *shape, "spare = false", model=models[0])
    server = house.start(start_server)
    stream = long_stream(server).wait_for(20)
    load = Load(server, 6)
    load.more(6)
    house.put(models[1])
    told = reload(server).json()
    assert changes(told) == {"served": "replaced"}
    load.more(6)
    load.end()
    assert load.failures == []
    known = {(prompt, each[prompt]) for prompt in PROMPTS for each in texts}
    assert load.texts.keys() <= known
    assert completed(server, PROMPTS[0]) == texts[1][PROMPTS[0]]
    stream.finish()
    assert (stream.error, stream.broken) == (None, None)
    settled(server, workers)


def long_stream(server: ForgeServer, tokens: int = 600) -> StreamOf:
    body = CHAT.body(PROMPTS[0], stream=True, temperature=0, ignore_eos=True, max_tokens=tokens)
    return StreamOf(CHAT, server, body, {"Authorization": f"Bearer {CLIENT}"})


@pytest.mark.parametrize("workers", [1, 2])
def test_long_streams_do_not_hold_a_reload_up(
    start_server: Start,
    tmp_path: Path,
    models: tuple[Path, Path],
    texts: list[dict[str, str]],
    workers: int,
) -> None:
    """Worker by worker: it is told what is waited for, and after some time they go on elsewhere
    or fail; none has words of both models."""
    shape = (f"workers = {workers}", "slots = 4", "memory-budget = 200", "spare = false")
    house = House(tmp_path, *EXACT, *shape, "retire-timeout = 2", model=models[0])
    server = house.start(start_server)
    alone = long_stream(server, tokens=1900).finish()
    streams = [long_stream(server, tokens=1900) for _ in range(4 * workers)]
    for stream in streams:
        stream.wait_for(5)
    house.put(models[1])
    assert reload(server, wait=False).status_code == 202
    told = eventually(lambda: report(server)["waiting"], "it is told what it waits for")
    assert re.match(r"served: \d requests? ha(s|ve) its old workers still; in \d s", told)
    done = eventually(lambda: ended(server), "the reload has an end", DEADLINE_S)
    assert done is not None
    assert changes(done) == {"served": "replaced"}
    for stream in streams:
        stream.finish()
        assert alone.startswith(stream.text)
        assert stream.error is None or OVERDUE in stream.error.message
        assert (stream.error is None) == (stream.text == alone)
    assert any(stream.error is not None for stream in streams), "they were still at it"
    assert completed(server, PROMPTS[0]) == texts[1][PROMPTS[0]]
    settled(server, workers)


def ended(server: ForgeServer) -> dict[str, Any] | None:
    found = report(server)
    return None if found["state"] == "running" else found


def test_one_worker_comes_back_if_the_new_one_can_not(
    start_server: Start, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    """Its file is gone by then, and its pool has held it open."""
    shape = ("workers = 1", "slots = 4", "memory-budget = 200", "spare = false")
    house = House(tmp_path, *EXACT, *shape, model=models[0])
    server = house.start(start_server)
    before = completed(server, PROMPTS[0])
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(models[1].read_bytes()[:200_000])
    load = Load(server, 4)
    load.more(4)
    house.put(damaged)
    answer = reload(server)
    assert answer.status_code == 503, answer.text
    load.more(4)
    load.end()
    assert load.failures == []
    assert completed(server, PROMPTS[0]) == before


def test_workers_are_killed_meanwhile(
    start_server: Start, tmp_path: Path, models: tuple[Path, Path], texts: list[dict[str, str]]
) -> None:
    """Streams that began on the old model go on there, on another worker of it."""
    house = House(tmp_path, *EXACT, *SHAPE, model=models[0])
    server = house.start(start_server)
    alone = long_stream(server).finish()
    streams = [long_stream(server) for _ in range(4)]
    for stream in streams:
        stream.wait_for(40)
    old = server.pids()
    house.put(models[1])
    told = reload(server).json()
    assert changes(told) == {"served": "replaced"}
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert completed(server, PROMPTS[0]) == texts[1][PROMPTS[0]]
    assert [stream.finish() for stream in streams] == [alone] * len(streams)
    assert not any(stream.error or stream.broken for stream in streams)
    settled(server, 2)
    assert not set(server.pids()) & set(old)


def test_signals(start_server: Start, tmp_path: Path, models: tuple[Path, Path]) -> None:
    """Two in a row are two reloads at most, and one that comes meanwhile is not lost."""
    house = House(tmp_path, *EXACT, *SHAPE, model=models[0])
    server = house.start(start_server)
    before = completed(server, PROMPTS[0])
    house.put(models[1])
    server.signal(signal.SIGHUP)
    server.signal(signal.SIGHUP)
    eventually(lambda: "served replaced" in server.stderr, "it was reloaded")
    house.key("later", LATER)
    server.signal(signal.SIGHUP)
    eventually(lambda: "keys changed" in server.stderr, "it was reloaded again")
    eventually(lambda: report(server)["state"] == "done", "it is over")
    assert completed(server, PROMPTS[0], key=LATER) != before
    settled(server, 2)
    assert server.process.poll() is None


def test_adapters_too(start_server: Start, tmp_path: Path, models: tuple[Path, Path]) -> None:
    """A name has another file, another name comes, and the workers stay; nothing fails."""
    files = [random_lora(models[0], seed).write(tmp_path / f"{seed}.gguf") for seed in range(3)]
    house = House(tmp_path, *EXACT, *SHAPE, f"adapters = 'a={files[0]}'", model=models[0])
    server = house.start(start_server)
    pids, load = server.pids(), Load(server, 4, model="a")
    base, first = (completed(server, PROMPTS[0], model=name) for name in ("served", "a"))
    assert base != first
    load.more(4)
    house.lines[-1] = f"adapters = 'a={files[1]},b={files[0]}'"
    house.write()
    told = reload(server).json()
    assert told["models"][0]["change"] == "settings"
    assert told["models"][0]["reason"] == "new adapters"
    assert completed(server, PROMPTS[0], model="b") == first
    second = completed(server, PROMPTS[0], model="a")
    assert second not in (base, first)
    house.lines[-1] = f"adapters = 'a={files[1]},b=/nowhere.gguf'"
    house.write()
    assert "can't read /nowhere.gguf" in reload(server).json()["error"]["message"]
    assert completed(server, PROMPTS[0], model="b") == first
    load.more(4)
    load.end()
    assert load.failures == []
    assert completed(server, PROMPTS[0], model="served") == base
    assert server.pids() == pids


def test_two_requests_at_once_and_the_end(
    start_server: Start, tmp_path: Path, models: tuple[Path, Path]
) -> None:
    house = House(tmp_path, *EXACT, *SHAPE, model=models[0])
    server = house.start(start_server)
    house.put(models[1])
    first = reload(server, wait=False)
    assert (first.status_code, first.json()["state"]) == (202, "running")
    second = reload(server)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "reload_busy")
    with server.client(Authorization=f"Bearer {CLIENT}") as client:
        assert client.post("/models/reload").status_code == 403
        assert client.get("/models/reload").status_code == 403
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    server.signal(signal.SIGTERM)
    server.expect_end([int(pid) for pid in children.split()])
