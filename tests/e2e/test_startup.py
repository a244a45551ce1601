"""The beginning, and what the command says when it can't."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import __version__
from tests.conftest import Start
from tests.support.dialects import CHAT, INFER
from tests.support.server import (
    ALIAS,
    DEADLINE_S,
    MODEL,
    environment,
    eventually,
    free_port,
    needs_ipv6,
)

BROWSER = {"accept": "text/html"}
"""Headers of a browser: what other programs see at / does not tell whether there is a page."""


def forge(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(env),
        check=False,
    )


def test_health_follows_the_workers(start_server: Start) -> None:
    """503 from the first answer until a worker is ready; who asks meanwhile is served then."""
    server = start_server("--workers", "1", "--slots", "4", port=free_port(), ready=False)
    codes: list[int] = []
    answers: list[httpx.Response] = []

    def health() -> int:
        try:
            codes.append(httpx.get(server.url + "/health", timeout=DEADLINE_S).status_code)
        except httpx.ConnectError:
            return 0
        return codes[-1]

    eventually(lambda: health() == 503, "the listener is up before the worker")
    assert httpx.get(server.url + "/health", timeout=DEADLINE_S).headers["retry-after"]

    def ask(path: str, body: dict[str, Any]) -> None:
        answers.append(httpx.post(server.url + path, json=body, timeout=DEADLINE_S))

    early = [
        threading.Thread(target=ask, args=(dialect.path, dialect.body(max_tokens=3)))
        for dialect in (INFER, CHAT)
    ]
    for thread in early:
        thread.start()
    eventually(lambda: health() == 200, "ready")
    for thread in early:
        thread.join(DEADLINE_S)
    assert [answer.status_code for answer in answers] == [200, 200]
    # Once: no going back and forth.
    assert codes == sorted(codes, reverse=True)
    server.wait_ready().stop()


def test_the_banner(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "3", "--alias", "mine")
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d{3,4}", server.url)
    banner = server.stdout
    assert re.search(r"model +mine: ", banner)
    assert re.search(r"workers +1 x 3 slots x 1 thread\b", banner)
    command = re.search(r"try +(curl .*)", banner)
    assert command is not None
    answer = subprocess.run(command[1], shell=True, capture_output=True, timeout=60, check=True)
    assert b'"response"' in answer.stdout
    server.stop()


@needs_ipv6
@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_the_banner_of_ipv6(start_server: Start, host: str) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--host", host)
    assert re.fullmatch(r"http://\[::1\]:[1-9]\d{3,4}", server.url)
    command = re.search(r"try +(curl .*)", server.stdout)
    assert command is not None
    answer = subprocess.run(command[1], shell=True, capture_output=True, timeout=60, check=True)
    assert b'"response"' in answer.stdout
    server.stop()


@needs_ipv6
def test_localhost_is_both_families(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--host", "localhost")
    port = httpx.URL(server.url).port
    for name in ("127.0.0.1", "[::1]", "localhost"):
        with httpx.Client(base_url=f"http://{name}:{port}", timeout=DEADLINE_S) as client:
            assert INFER.ask(client, max_tokens=2)
            # Each of them is this machine for what is offered to this machine alone.
            assert client.post("/dashboard/flood", json={}).status_code == 200
    server.stop()


def test_sources_of_settings(start_server: Start, tmp_path: Path) -> None:
    """Command line over environment over file over defaults."""
    file = tmp_path / "forge.toml"
    file.write_text('alias = "from-file"\nslots = 5\nworkers = 2\naging-rate = 0.7\n')
    env = {"FORGE_ALIAS": "from-environment", "FORGE_WORKERS": "2", "FORGE_MODEL": str(MODEL)}
    arguments = ("--config", str(file), "--workers", "1")
    server = start_server(*arguments, model=None, env=env)
    (model,) = server.get("/v1/models")["data"]
    assert model["id"] == "from-environment"
    (worker,) = server.workers()
    assert worker["slots"] == 5
    server.stop()


def test_a_command_line_of_llama_server(start_server: Start) -> None:
    """Each option has its meaning, or a line that says why not; the answer is a model's."""
    line = "-np 3 -ub 512 -c 2048 --jinja -fa --no-webui --slots -cmoe -ot output=CPU -lv 2"
    chat = ("--chat-template", "chatml", "--cors-origins", "localhost", "--reranking")
    server = start_server("--workers", "1", *line.split(), *chat)
    (worker,) = server.workers()
    assert worker["slots"] == 3
    with server.client() as client:
        assert client.get("/", headers=BROWSER).text == "Ollama is running", "no page"
        said = {"messages": [{"role": "user", "content": "Hi"}]}
        written = client.post("/apply-template", json=said).json()["prompt"]
        assert written == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        assert CHAT.ask(client, max_tokens=3).text
    told = server.stderr
    for note in (
        "-np 3, llama-server's, is taken as --slots 3",
        "-ub 512, llama-server's, is taken as --batch 512",
        "--jinja, llama-server's, is left out",
        "--slots, llama-server's, is left out",
        "--reranking, llama-server's, is left out",
    ):
        assert f"forge serve: {note}" in told
    server.stop()


def test_help_and_version() -> None:
    for arguments in (("--version",), ("serve", "--version")):
        done = forge(*arguments)
        assert (done.returncode, done.stdout) == (0, f"forge {__version__}\n")
    for arguments in (("--help",), ("serve", "--help")):
        done = forge(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "serve" in done.stdout


BAD_SETTINGS = [
    (("--port", "70000"), "--port"),
    (("--workers", "0"), "--workers"),
    (("--workers", "many"), "--workers"),
    (("--slots", "1000"), "--slots"),
    (("--aging-rate", "-1"), "--aging-rate"),
    (("--aging-rate", "nan"), "--aging-rate"),
    (("--flash-attn", "maybe"), "--flash-attn"),
    (("--cache-type-k", "f8"), "--cache-type-k"),
    (("--model", "/nowhere/model.gguf"), "/nowhere/model.gguf"),
    (("--model", "/"), "--model"),
    (("--model", __file__), "not a GGUF"),
    (("--config", "/nowhere/forge.toml"), "/nowhere/forge.toml"),
    (("--config", __file__), "not valid TOML"),
    (("--api-key", ""), "--api-key"),
    (("--api-key-file", "/nowhere/keys.toml"), "/nowhere/keys.toml"),
    (("--api-key-file", __file__), "not valid TOML"),
    (("--ssl-certfile", __file__), "--ssl-keyfile"),
    (("--ssl-certfile", __file__, "--ssl-keyfile", __file__), "can't be used together"),
    (("--cors-origin", "https://example.com/path"), "--cors-origin"),
    (("--host", "no..such.host"), "--host"),
]
PASSING = [
    (("--host", "203.0.113.1"), "--port"),
    (("--workers", "4096"), "--model"),
    (("--model", "hf:org/tiny"), "hf:org/tiny"),
]
"""Effects of another machine, another day or another network."""


@pytest.mark.parametrize(("arguments", "named"), BAD_SETTINGS)
def test_bad_settings(arguments: tuple[str, ...], named: str) -> None:
    """Exit code 2 and one line that names what is wrong."""
    # A model that exists, so that the setting under test is the only thing wrong.
    done = forge("serve", *arguments, env={"FORGE_MODEL": str(MODEL), "FORGE_PORT": "0"})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("forge serve: error: ")
    assert named in line
    assert done.stdout == ""


@pytest.mark.parametrize(("arguments", "named"), PASSING)
def test_what_may_pass_by_itself(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    """Exit code 1, after which a service manager tries again, and one line."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        hub = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        env = {"FORGE_MODEL": str(MODEL), "FORGE_PORT": "0", "HF_ENDPOINT": hub}
        done = forge("serve", *arguments, env={**env, "HF_HUB_CACHE": str(tmp_path)})
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("forge serve: error: ")
    assert named in line


def test_bad_environment() -> None:
    done = forge("serve", env={"FORGE_SLOTS": "none"})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "FORGE_SLOTS" in line


@pytest.mark.parametrize("arguments", [(), ("bake",), ("serve", "--colour", "red")])
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    done = forge(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert "Traceback" not in done.stderr


def test_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = forge("serve", "--port", str(port), "--model", str(MODEL))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line


def corrupt(kind: str) -> bytes:
    whole = MODEL.read_bytes()
    return {
        "magic only": b"GGUF",
        "rubbish": b"GGUF\x03\0\0\0" + bytes(range(1, 256)) * 16,
        "other version": b"GGUF" + b"\xfe" * 4096,
        "cut in the header": whole[:2000],
        "cut in the weights": whole[: len(whole) // 2],
    }[kind]


KINDS = ["magic only", "rubbish", "other version", "cut in the header", "cut in the weights"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupt_model(tmp_path: Path, kind: str) -> None:
    """Only llama.cpp can tell, in a worker; still there is one line, with its reason."""
    model = tmp_path / "corrupt.gguf"
    model.write_bytes(corrupt(kind))
    done = forge("serve", "--port", "0", "--workers", "2", "--model", str(model))
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    reason = line.partition(f"forge serve: error: {model}: llama.cpp can't load this model: ")[2]
    assert reason, line


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems only take UTF-8")
def test_a_model_whose_name_is_no_utf8(start_server: Start, tmp_path: Path) -> None:
    model = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    shutil.copy(MODEL, model)
    server = start_server("--workers", "1", "--slots", "1", model=model)
    with server.client() as client:
        assert INFER.ask(client, max_tokens=3).body["model"] == "caf?"
    assert server.get("/v1/models")["data"][0]["id"] == "caf?"
    server.stop()


def test_a_model_with_another_name(start_server: Start, tmp_path: Path) -> None:
    """Without --alias the file's name is the model's."""
    model = tmp_path / "other-name.v2.gguf"
    model.symlink_to(MODEL.resolve())
    server = start_server("--workers", "1", "--slots", "1", model=model)
    (card,) = server.get("/v1/models")["data"]
    assert card["id"] == "other-name.v2" != ALIAS
    server.stop()
