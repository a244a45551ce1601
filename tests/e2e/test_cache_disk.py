"""``--cache-disk``: prefixes outlive a worker and the server, until a command deletes them."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.architectures import write
from tests.support.killing import kill
from tests.support.server import MODEL, ForgeServer, environment, eventually

TEXT = "Once upon a time there was a little girl. " * 23
ENDINGS = "She went home.", "He had a dog."
"""Two prompts that begin alike."""

Begin = Callable[..., ForgeServer]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


def folder_of(home: dict[str, str]) -> Path:
    (folder,) = (Path(home["XDG_CACHE_HOME"]) / "forge/prefixes").iterdir()
    return folder


def forge(home: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "gateway.cli", *arguments]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(home: dict[str, str]) -> list[Path]:
    return sorted(folder_of(home).glob("*.kv"))


def cached(server: ForgeServer, prompt: str) -> int:
    body = {"prompt": prompt, "max_tokens": 2, "temperature": 0}
    with server.client() as http:
        usage = http.post("/v1/completions", json=body).json()["usage"]
    return int(usage["prompt_tokens_details"]["cached_tokens"])


def serving(directory: Path, home: dict[str, str], model: Path = MODEL) -> ForgeServer:
    options = ("--cache-disk", "50", "--workers", "1", "--slots", "2", "--ctx", "2048")
    return ForgeServer(directory, *options, model=model, env=home).wait_ready()


def test_a_restart_begins_warm(tmp_path: Path, home: dict[str, str]) -> None:
    first = serving(tmp_path / "1", home)
    try:
        assert cached(first, TEXT + ENDINGS[0]) == 0
        eventually(lambda: files(home), "it is written")
        first.stop()
    finally:
        first.kill()
    second = serving(tmp_path / "2", home)
    try:
        assert cached(second, TEXT + ENDINGS[1]) > 200
        second.stop()
    finally:
        second.kill()


def test_the_next_worker_finds_what_the_dead_one_computed(
    tmp_path: Path, home: dict[str, str]
) -> None:
    server = serving(tmp_path / "1", home)
    try:
        assert cached(server, TEXT + ENDINGS[0]) == 0
        eventually(lambda: files(home), "it is written")
        (pid,) = server.pids()
        kill(pid)
        eventually(lambda: server.pids() not in ([], [pid]), "another starts")
        assert cached(server, TEXT + ENDINGS[1]) > 200
        server.stop()
    finally:
        server.kill()


def test_memory_that_cant_be_cut_comes_back_too(tmp_path: Path, home: dict[str, str]) -> None:
    model = tmp_path / "jamba.gguf"
    write("jamba", MODEL, model)
    first = serving(tmp_path / "1", home, model)
    try:
        assert cached(first, TEXT) == 0
        eventually(lambda: files(home), "it is written")
        first.stop()
    finally:
        first.kill()
    second = serving(tmp_path / "2", home, model)
    try:
        assert cached(second, TEXT) > 200
        second.stop()
    finally:
        second.kill()


def test_forged_files_are_computed_anew(tmp_path: Path, home: dict[str, str]) -> None:
    first = serving(tmp_path / "1", home)
    try:
        cached(first, TEXT + ENDINGS[0])
        eventually(lambda: files(home), "it is written")
        first.stop()
    finally:
        first.kill()
    for path in files(home):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    second = serving(tmp_path / "2", home)
    try:
        assert cached(second, TEXT + ENDINGS[1]) == 0
        assert cached(second, TEXT + ENDINGS[0]) > 200
        second.stop()
    finally:
        second.kill()


def test_nothing_is_written_unless_it_is_wanted(tmp_path: Path, home: dict[str, str]) -> None:
    server = ForgeServer(tmp_path / "1", "--workers", "1", env=home).wait_ready()
    try:
        cached(server, TEXT)
        server.stop()
    finally:
        server.kill()
    # Sizes of contexts are remembered; nothing of what was asked.
    written = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert written == ["contexts.json"]
    assert forge(home, "cache") == (
        "There are no prefixes on the disk; forge serve --cache-disk keeps some.\n"
    )


def test_a_command_lists_and_deletes_them(tmp_path: Path, home: dict[str, str]) -> None:
    server = serving(tmp_path / "1", home)
    try:
        cached(server, TEXT)
        eventually(lambda: files(home), "it is written")
        (told,) = json.loads(forge(home, "cache", "--json"))
        assert told["model"] == str(MODEL)
        assert told["prefixes"] == 1
        assert told["size"] == files(home)[0].stat().st_size
        assert folder_of(home).name in forge(home, "cache", "list")
        assert "free again" in forge(home, "cache", "clear", "forge-tiny", "--yes")
        assert not files(home), "under a running server, too"
        assert cached(server, TEXT + ENDINGS[0]) > 200, "from memory"
        eventually(lambda: files(home), "and it goes on")
        server.stop()
    finally:
        server.kill()
    forge(home, "cache", "clear", "--yes")
    assert not list((tmp_path / "cache/forge/prefixes").iterdir())


def test_they_are_this_users_alone(tmp_path: Path, home: dict[str, str]) -> None:
    server = serving(tmp_path / "1", home)
    try:
        cached(server, TEXT)
        eventually(lambda: files(home), "it is written")
        server.stop()
    finally:
        server.kill()
    assert stat.S_IMODE(os.stat(folder_of(home)).st_mode) == 0o700
    secret = tmp_path / "state/forge/prefixes.secret"
    for path in (*files(home), secret):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(secret.read_bytes() not in path.read_bytes() for path in files(home))
