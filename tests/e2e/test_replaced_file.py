"""A model's file is replaced, removed or overwritten while it is served, and workers die."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.support.architectures import write
from tests.support.dialects import COMPLETIONS
from tests.support.server import DEADLINE_S, MODEL, ForgeServer, eventually
from tests.support.splitting import split

ASKED: dict[str, Any] = {"temperature": 0, "max_tokens": 12}


def said(server: ForgeServer, **params: Any) -> str:
    with server.client() as client:
        return COMPLETIONS.ask(client, "Once upon a time", **ASKED, **params).text


def kill_all(server: ForgeServer) -> None:
    """Kill every worker; return when each place has another process."""
    before = server.pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not set(server.pids()) & set(before), "they are gone")
    eventually(lambda: all(w["state"] == "ready" for w in server.workers()), "others came")


def states(server: ForgeServer) -> set[str]:
    return {worker["model_file"] for worker in server.workers()}


def replace(file: Path) -> None:
    """Do what mv and downloads do."""
    write("qwen3", MODEL, file.with_name("other"))
    file.with_name("other").replace(file)


@pytest.mark.parametrize(("change", "state"), [(replace, "replaced"), (Path.unlink, "removed")])
def test_workers_come_back_with_the_old_model(
    start_server: Start, tmp_path: Path, change: Callable[[Path], None], state: str
) -> None:
    file = Path(shutil.copy(MODEL, tmp_path / "served.gguf"))
    server = start_server("--workers", "2", model=file)
    assert states(server) == {"same"}
    expected = said(server)
    change(file)
    eventually(lambda: states(server) == {state}, "it is seen")
    for _ in range(2):
        kill_all(server)
        assert said(server) == expected
    assert server.stderr.count(f"{file} was {state}") == 1
    with server.client(Accept="text/plain") as client:
        metrics = client.get("/metrics").text
    assert f'forge_model_file_state{{model="served",state="{state}"}} 1' in metrics


def test_the_new_model_comes_with_the_next_load(start_server: Start, tmp_path: Path) -> None:
    file = Path(shutil.copy(MODEL, tmp_path / "one.gguf"))
    config = tmp_path / "forge.toml"
    config.write_text(
        f"workers = 1\nslots = 2\nctx = 1024\ncache-ram = 0\n[models.one]\nmodel = '{file}'\n"
        f"[models.two]\nmodel = '{MODEL}'\n"
    )
    server = start_server("--config", str(config), model=None)
    old = said(server, model="one")
    replace(file)
    os.kill(next(w["pid"] for w in server.workers() if w["model"] == "one"), signal.SIGKILL)
    assert said(server, model="one") == old
    assert {w["model_file"] for w in server.workers() if w["model"] == "one"} == {"replaced"}
    for path in ("/models/unload", "/models/load"):
        answer = httpx.post(server.url + path, json={"model": "one"}, timeout=DEADLINE_S)
        assert answer.status_code == 200, answer.text
    assert states(server) == {"same"}
    assert said(server, model="one") != old
    assert said(server, model="two") == old


def test_split_models_are_held_as_a_whole(start_server: Start, tmp_path: Path) -> None:
    files = split(MODEL, tmp_path / "big")
    assert len(files) > 1
    server = start_server("--workers", "1", model=files[0])
    expected = said(server)
    for file in files:
        file.unlink()
    kill_all(server)
    assert said(server) == expected


def test_an_overwritten_file_is_not_served_again(start_server: Start, tmp_path: Path) -> None:
    """The worker that runs has read its weights, and goes on; another one would be another."""
    file = Path(shutil.copy(MODEL, tmp_path / "served.gguf"))
    server = start_server("--workers", "1", "--no-mmap", model=file)
    expected = said(server)
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))
    eventually(lambda: states(server) == {"overwritten"}, "it is seen")
    assert said(server) == expected
    os.kill(server.pids()[0], signal.SIGKILL)
    eventually(lambda: "worker 0: the model's file was overwritten" in server.stderr, "it is told")
    assert server.pids() == []
