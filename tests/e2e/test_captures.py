"""Captures on a real server: real streams, hang-ups, deaths, a full disk, kill -9, replays."""

import json
import os
import resource
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.gateway.stored.test_database import content
from tests.support.dialects import CHAT, INFER, WAYS, Way
from tests.support.killing import kill
from tests.support.server import ForgeServer, eventually
from tests.support.terminal import forge
from tests.support.traffic import Hanging

CAPTURE = {"X-Capture": "1"}
FIXED: dict[str, Any] = {"temperature": 0.8, "seed": 7, "max_tokens": 24}
MIB = 1024 * 1024
LIMITED = sys.platform == "linux"
"""Limits of another process can be set."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captures") / "data"


@pytest.fixture(scope="module")
def server(
    exact: tuple[Path, tuple[str, ...]], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForgeServer]:
    """Two workers that give the same text whatever runs beside it."""
    model, options = exact
    options = ("--workers", "2", "--slots", "4", *options, "--data-dir", str(folder))
    server = ForgeServer(
        tmp_path_factory.mktemp("server"), *options, "--capture", "header", model=model
    )
    yield server.wait_ready()
    server.kill()


def asked(server: ForgeServer, way: Way, **params: Any) -> tuple[httpx.Response, str]:
    """Send a request that is captured; return its answer and the capture's id."""
    with server.client() as client:
        body = way.body("Tell me a story.", **params)
        response = client.post(way.path, json=body, headers=CAPTURE)
    return response, response.headers["x-capture"]


def capture(server: ForgeServer, id_: str) -> dict[str, Any]:
    """Return a capture, as soon as it is written."""

    def found() -> Any:
        with server.client() as client:
            response = client.get(f"/captures/{id_}")
        return response.json() if response.status_code == 200 else None

    whole: dict[str, Any] = eventually(found, f"{id_} is written")
    return whole


def heads(server: ForgeServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/captures?limit=100")["data"]
    return found


def fate(server: ForgeServer, name: str) -> float:
    """Return how many captures met it so far."""
    with server.client(Accept="text/plain") as client:
        text = client.get("/metrics").text
    line = f'forge_captures_total{{fate="{name}"}} '
    return float(next(each for each in text.splitlines() if each.startswith(line)).split()[-1])


def replay(server: ForgeServer, id_: str, *more: str) -> tuple[int, dict[str, Any]]:
    done = forge("replay", id_, "--url", server.url, "--json", *more)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_capture_has_what_was_said_and_replays_to_it(server: ForgeServer, way: Way) -> None:
    response, id_ = asked(server, way, **FIXED)
    found = capture(server, id_)
    told = way.dialect.told(response)
    assert "".join(each["text"] for each in found["texts"]) == told.text
    assert found["answer"] == response.text
    assert (found["seed"], found["generation_tokens"]) == (7, 24)
    code, again = replay(server, id_)
    assert (code, again["equal"], again["reasons"]) == (0, True, [])
    assert again["now"]["texts"] == found["texts"]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_sampled_request_without_a_seed_says_why_it_differs(
    server: ForgeServer, way: Way
) -> None:
    _, id_ = asked(server, way, temperature=1.5, max_tokens=40, ignore_eos=True)
    seed = capture(server, id_)["seed"]
    code, found = replay(server, id_)
    assert (code, found["equal"]) == (1, False)
    assert f"drawn with seed {seed}, and now with {found['now']['seed']}" in found["reasons"][0]
    code, found = replay(server, id_, "--seed")
    assert (code, found["reasons"]) == (0, [])


def test_vectors_are_compared_too(server: ForgeServer) -> None:
    with server.client() as client:
        answer = client.post("/v1/embeddings", json={"input": ["a", "b"]}, headers=CAPTURE)
    assert answer.status_code == 200, answer.text
    found = capture(server, answer.headers["x-capture"])
    assert found["texts"] == []
    code, again = replay(server, found["id"])
    assert (code, again["equal"]) == (0, True)


def test_a_replay_is_shown_side_by_side(server: ForgeServer) -> None:
    _, id_ = asked(server, Way(CHAT, True), temperature=1.5, max_tokens=30, ignore_eos=True)
    whole = capture(server, id_)
    done = forge("replay", id_, "--url", server.url)
    shown = done.stdout.decode()
    assert done.returncode == 1
    assert "captured" in shown
    assert "different\n- the request names no seed" in shown
    assert whole["texts"][0]["text"].split()[0] in shown
    same = forge("replay", id_, "--url", server.url, "--seed")
    assert (same.returncode, same.stdout.decode().splitlines()[-1]) == (0, "equal")


def test_a_replay_goes_to_another_server_with_a_key_of_its_own(
    server: ForgeServer, exact: tuple[Path, tuple[str, ...]], start_server: Start
) -> None:
    """The key of the first is not told to the second."""
    model, options = exact
    key = {"FORGE_API_KEY": "sk-other"}
    other = start_server("--workers", "1", *options, model=model, env=key, key="sk-other")
    _, id_ = asked(server, Way(CHAT, True), **FIXED)
    capture(server, id_)
    arguments = ("replay", id_, "--url", server.url, "--to", other.url, "--json")
    done = forge(*arguments, env={"FORGE_TO_API_KEY": "sk-other"})
    assert (done.returncode, json.loads(done.stdout)["reasons"]) == (0, [])
    refused = forge(*arguments, env={"FORGE_API_KEY": "sk-other"})
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["reasons"] == ["the status was 200, and is 401"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cap_none"], b"there is no capture 'cap_none'"),
        (["../models"], b"ID: expected a capture's id"),
    ],
)
def test_a_replay_that_cant_be_is_an_error(
    server: ForgeServer, arguments: list[str], words: bytes
) -> None:
    done = forge("replay", *arguments, "--url", server.url)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_what_is_not_whole_is_not_replayed(server: ForgeServer) -> None:
    with server.client() as client:
        answer = client.post(INFER.path, content=b"{", headers=CAPTURE)
    done = forge("replay", capture(server, answer.headers["x-capture"])["id"], "--url", server.url)
    assert done.returncode == 2
    assert b"it can't be replayed: the request is no JSON object" in done.stderr


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_worker_that_died_and_the_one_that_went_on_are_named(
    server: ForgeServer, way: Way
) -> None:
    """And a replay, which no worker's death disturbs, says the same."""
    long = {**FIXED, "max_tokens": 400, "ignore_eos": True}
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(asked, server, way, **long)
        busy = eventually(lambda: [w for w in server.workers() if w["busy"]], "one computes")
        os.kill(busy[0]["pid"], signal.SIGKILL)
        response, id_ = asking.result()
    assert response.status_code == 200
    found = capture(server, id_)
    first, then = found["attempts"]
    assert (first["worker"], first["end"], first["node"]) == (busy[0]["id"], "lost", None)
    assert (then["number"], then["end"]) == (2, "ended")
    assert then["worker"] in {each["id"] for each in server.workers()}
    assert found["failovers"] == 1
    code, again = replay(server, id_)
    assert (code, again["reasons"]) == (0, [])
    eventually(lambda: all(w["state"] == "ready" for w in server.workers()), "there are two again")


@pytest.mark.parametrize("way", [each for each in WAYS if each.stream], ids=str)
def test_a_hang_up_in_a_stream_is_kept(server: ForgeServer, way: Way) -> None:
    before = {each["id"] for each in heads(server)}
    with (
        server.client() as client,
        client.stream(
            "POST",
            way.path,
            json=way.body("Tell me a story.", max_tokens=4000, ignore_eos=True),
            headers=CAPTURE,
        ) as response,
    ):
        lines = response.iter_lines()
        begun = [next(lines) for _ in range(10)]
    found = capture(server, response.headers["x-capture"])
    assert found["id"] not in before
    assert (found["status"], found["outcome"]) == (200, "cancelled")
    assert found["answer"].splitlines()[:10] == begun
    assert 0 < found["generation_tokens"] < 4000
    eventually(lambda: server.busy() == 0, "the slot is free")


def test_a_stream_that_survives_its_worker_is_kept_whole(server: ForgeServer) -> None:
    undisturbed, _ = asked(server, Way(CHAT, True), temperature=0, max_tokens=200, ignore_eos=True)
    with server.client() as client:
        body = CHAT.body(
            "Tell me a story.", stream=True, temperature=0, max_tokens=200, ignore_eos=True
        )
        with client.stream("POST", CHAT.path, json=body, headers=CAPTURE) as response:
            lines = response.iter_lines()
            for _ in range(10):
                next(lines)
            (pid,) = (each["pid"] for each in server.workers() if each["busy"])
            kill(pid)
            for _ in lines:
                pass
    found = capture(server, response.headers["x-capture"])
    expected = CHAT.told(undisturbed).text
    assert [each["text"] for each in found["texts"]] == [expected]
    assert found["outcome"] == "finished"
    server.wait_ready()


def test_deleted_captures_are_gone_from_the_disk(server: ForgeServer, folder: Path) -> None:
    with server.client() as client:
        body = INFER.body("the secret of the fox, again and again", max_tokens=1)
        answer = client.post(INFER.path, json=body, headers=CAPTURE)
        capture(server, answer.headers["x-capture"])
        assert b"the secret of the fox" in content(str(folder / "forge.db"))
        assert {stat.S_IMODE(each.stat().st_mode) for each in folder.glob("forge.db*")} == {0o600}
        client.delete(f"/captures/{answer.headers['x-capture']}").raise_for_status()
    assert b"the secret of the fox" not in content(str(folder / "forge.db"))


@pytest.mark.skipif(not LIMITED, reason="limits of another process")
def test_a_full_disk_drops_captures_and_harms_no_request(server: ForgeServer) -> None:
    """The kernel refuses to let any file of the gateway grow, its log's included."""
    pid = server.process.pid
    dropped = fate(server, "dropped")
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        for way in WAYS:
            response, _ = asked(server, way, **FIXED)
            assert way.dialect.told(response).failure is None
        eventually(lambda: fate(server, "dropped") == dropped + len(WAYS), "all are dropped")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    _, id_ = asked(server, Way(CHAT, False), **FIXED)
    assert capture(server, id_)["status"] == 200


def test_many_at_once_are_all_kept(server: ForgeServer) -> None:
    ids: list[str] = []

    def ask(way: Way) -> None:
        for _ in range(3):
            ids.append(asked(server, way, **FIXED)[1])

    threads = [threading.Thread(target=ask, args=[way]) for way in WAYS]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(ids) == 3 * len(WAYS)
    texts = {json.dumps(capture(server, id_)["texts"][0]["text"]) for id_ in ids}
    assert texts
    assert {each["outcome"] for each in heads(server) if each["id"] in ids} == {"finished"}


def test_kill_9_loses_nothing_that_was_written(start_server: Start, tmp_path: Path) -> None:
    shape = ("--workers", "1", "--slots", "4", "--capture", "always")
    options = (*shape, "--data-dir", str(tmp_path / "data"))
    server = start_server(*options)
    written = [asked(server, way, **FIXED)[1] for way in WAYS]
    before = {id_: capture(server, id_) for id_ in written}
    running = Hanging(server, CHAT.path, CHAT.body(stream=True, max_tokens=4000, ignore_eos=True))
    with closing(running.socket):
        running.read_until(b"data: ")
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    again = start_server(*options)
    assert {id_: capture(again, id_) for id_ in written} == before
    assert {each["id"] for each in heads(again)} == set(written)
    _, id_ = asked(again, Way(CHAT, False), **FIXED)
    assert capture(again, id_)["status"] == 200
    with suppress(ProcessLookupError):
        again.signal(signal.SIGTERM)
    assert again.wait() == 0


def test_what_waits_is_written_at_the_end(start_server: Start, tmp_path: Path) -> None:
    options = ("--workers", "1", "--capture", "always", "--data-dir", str(tmp_path / "data"))
    server = start_server(*options)
    ids = [asked(server, Way(INFER, False), **FIXED)[1] for _ in range(5)]
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    again = start_server(*options)
    assert [each["id"] for each in heads(again)] == ids[::-1]
