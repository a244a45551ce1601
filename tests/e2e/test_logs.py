"""Logs that no text of clients or model files can forge, and that bring none to a terminal."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import Start
from tests.support.dialects import INFER
from tests.support.fuzzing import dumped, exchange, request, usual
from tests.support.server import DEADLINE_S, MODEL, ForgeServer, environment

RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
FORGED = "2020-01-01 00:00:00,000 ERROR forge.pool all is lost"
ATTACKS = (f"\n{FORGED}", f"\x1b[2J{FORGED}")
ARCHITECTURE = b"llama"
SECRET, KEY = "the-launch-code-is-4711", "sk-0815"
SMALL = ("--workers", "1", "--slots", "1")


def hostile(target: Path, value: bytes) -> Path:
    """The model with other bytes for its architecture, which llama.cpp repeats in its error."""
    whole = MODEL.read_bytes()
    assert len(value) == len(ARCHITECTURE)
    target.write_bytes(whole.replace(ARCHITECTURE, value, 1))
    return target


def objects(server: ForgeServer) -> list[dict[str, Any]]:
    """The log as JSON: each line is a record by itself, and obeyed by no terminal."""
    found = server.stderr.split("\n")
    assert found.pop() == ""
    assert all(line.isprintable() for line in found)
    return [orjson.loads(line) for line in found]


def lines(server: ForgeServer) -> list[str]:
    """The log; each line must be a record of ours or belong to one's traceback."""
    assert "\x1b" not in server.stderr
    found = server.stderr.split("\n")
    assert found.pop() == ""
    for line in found:
        assert RECORD.match(line) or line.startswith("    "), line
    return found


@pytest.mark.parametrize("form", ["console", "json"])
def test_requests(start_server: Start, form: str) -> None:
    """Through every way into the server that takes text, with the most talkative log."""
    server = start_server(*SMALL, "--log-level", "debug", "--log-format", form)
    for attack in ATTACKS:
        quoted = "".join(f"%{byte:02x}" for byte in attack.encode()).encode()
        for path in (b"/" + quoted, b"/v1/models/" + quoted, b"/queue/" + quoted, b"/?" + quoted):
            assert exchange(server, request(path, b"", usual(b""), b"GET")) is not None
        body = dumped({"model": attack, "messages": [{"role": "user", "content": attack}]})
        for sent in (body, dumped({attack: attack}), dumped({"query": attack, "max_tokens": 1})):
            for path in (b"/infer", b"/v1/chat/completions"):
                assert exchange(server, request(path, sent.encode(), usual(sent.encode())))
        header = attack.replace("\n", "\x0b").encode()
        for name in (b"Host", b"X-Priority", b"Authorization", b"X-Forwarded-For", b"X-Request-Id"):
            exchange(server, request(b"/infer", b"", [*usual(b""), (name, header)]))
        exchange(server, attack.encode() + b"\r\n\r\n")
    server.stop()
    if form == "json":
        objects(server)
    else:
        assert not any(line.startswith(FORGED) for line in lines(server))
    assert "all is lost" not in server.stderr, "what clients write is their own business"


def test_a_model_file_at_the_start(tmp_path: Path) -> None:
    model = hostile(tmp_path / "m.gguf", b"\n\x1b[2J")
    command = [sys.executable, "-m", "gateway.cli", "serve", "--port", "0", "--model", str(model)]
    done = subprocess.run(
        command, capture_output=True, timeout=DEADLINE_S, env=environment(), check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert r"'\n\x1b[2J'" in line


def test_a_model_file_that_is_loaded_later(start_server: Start, tmp_path: Path) -> None:
    """The running server logs why no worker can load it, in one line."""
    model = tmp_path / "later.gguf"
    model.write_bytes(MODEL.read_bytes())
    config = tmp_path / "forge.toml"
    tables = "".join(
        f"[models.{name}]\nmodel = '{path}'\n" for name, path in (("m", MODEL), ("later", model))
    )
    config.write_text(f"workers = 1\nslots = 1\nctx = 512\n{tables}")
    server = start_server("--config", str(config), model=None)
    hostile(model, b"\n\x1b[2J")
    with server.client() as client:
        assert client.post(INFER.path, json=INFER.body(model="later")).status_code == 503
    (line,) = {line.partition(" ERROR ")[2] for line in lines(server) if " ERROR " in line}
    assert r"'\n\x1b[2J'" in line


def test_a_line_for_each_request(start_server: Start) -> None:
    """It tells what the client was told; and the log is JSON from the first line to the last."""
    server = start_server(*SMALL, "--log-format", "json", "--api-key", KEY, key=KEY)
    with server.client() as client:
        body = INFER.body(SECRET, priority="urgent", max_tokens=3, ignore_eos=True)
        good = client.post("/infer", json=body)
        late = client.post("/infer", json=INFER.body(SECRET, timeout=0.001, ignore_eos=True))
        long = client.post("/infer", json=INFER.body("x" * 10**6))
        assert [each.status_code for each in (good, late, long)] == [200, 504, 400]
    server.stop()
    assert SECRET not in server.stderr
    assert KEY not in server.stderr
    finished, expired, invalid = (
        record for record in objects(server) if record["logger"] == "forge.requests"
    )
    told = good.json()
    assert finished["message"] == "finished"
    assert finished["id"] == told["id"] == good.headers["x-request-id"]
    assert (finished["class"], finished["priority"]) == ("urgent", 2.0)
    assert finished["owner"] == "default"
    assert finished["prompt_tokens"] == told["usage"]["prompt_tokens"]
    assert finished["generation_tokens"] == 3
    assert finished["queue_wait_s"] * 1000 == pytest.approx(told["timings"]["queue_ms"], abs=0.01)
    assert finished["ttft_s"] * 1000 == pytest.approx(told["timings"]["ttft_ms"], abs=1)
    rate = told["timings"]["tokens_per_second"]
    assert finished["generation_tokens_per_second"] == pytest.approx(rate, abs=0.01)
    assert (expired["message"], expired["error"]) == ("expired", "deadline_exceeded")
    assert (invalid["message"], invalid["error"]) == ("invalid", "context_length_exceeded")


def test_prompts_on_demand(start_server: Start) -> None:
    server = start_server(*SMALL, "--log-prompts")
    attack = SECRET + ATTACKS[0] + ATTACKS[1]
    with server.client() as client:
        assert client.post("/infer", json=INFER.body(attack, max_tokens=1)).status_code == 200
    server.stop()
    (line,) = (line for line in lines(server) if " forge.requests finished " in line)
    told = line[line.index("prompts=") + len("prompts=") :]
    ((message,),) = (prompt["messages"] for prompt in orjson.loads(told))
    assert message == {"role": "user", "content": attack}
