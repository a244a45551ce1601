"""``forge batch`` as its users have it: two files, a server, and ends of all kinds."""

import json
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.support.server import (
    ALIAS,
    DEADLINE_S,
    MODEL,
    ForgeServer,
    environment,
    eventually,
    free_port,
)
from tests.support.terminal import FORGE, forge, interruptible, occupied

CHAT = "/v1/chat/completions"
GUIDE = Path(__file__).parents[2] / "docs/guides/forge-batch.md"


def asked(custom_id: str, text: str, url: str = CHAT, **more: Any) -> dict[str, Any]:
    fixed = {"temperature": 0, "seed": 1}
    fields: dict[str, Any] = {
        CHAT: {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **fixed},
        "/v1/completions": {"prompt": text, "max_tokens": 8, **fixed},
        "/v1/responses": {"input": text, "max_output_tokens": 8, "temperature": 0, "store": False},
        "/v1/messages": {
            "model": ALIAS,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 8,
            "temperature": 0,
        },
        "/v1/embeddings": {"input": text},
    }
    body = {**fields[url], **more}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def write(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The results of a file by their ids, each of which is there once."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def said(body: Any) -> Any:
    """Return the parts of an answer that don't differ from one request to the next."""
    if isinstance(body, dict):
        return {
            name: said(value)
            for name, value in body.items()
            if name in ("choices", "content", "text", "message", "output", "data", "embedding")
        }
    return [said(each) for each in body] if isinstance(body, list) else body


def test_the_example_of_the_guide(server: ForgeServer, tmp_path: Path) -> None:
    guide = GUIDE.read_text("utf-8")
    found = re.search(
        r"^\$ cat questions\.jsonl\n(.*?)^\$ (forge batch [^\n]*)\n(.*?)^```", guide, re.M | re.S
    )
    assert found is not None
    file, command, shown = found.groups()
    (tmp_path / "questions.jsonl").write_text(file)
    mine = command.replace("forge batch", f"{' '.join(FORGE)} batch --url {server.url}")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["bash", "-c", mine],
        cwd=tmp_path,
        env=environment({"PYTHONPATH": str(root)}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", shown)
    assert read(tmp_path / "answers.jsonl").keys() == {"sum", "vector"}
    wrong = read(tmp_path / "answers.errors.jsonl")["wrong"]
    form = json.loads(re.findall(r"^```json\n(.*?)^```", guide, re.M | re.S)[0])
    assert form.keys() == wrong.keys()
    assert form["response"].keys() == wrong["response"].keys()
    assert wrong["response"]["status_code"] == 400


def test_every_line_is_answered_as_if_it_came_alone(server: ForgeServer, tmp_path: Path) -> None:
    urls = (CHAT, "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")
    lines = [asked(f"{n} {url}", f"what is {n}+{n}?", url) for n in range(8) for url in urls]
    out = tmp_path / "out.jsonl"
    done = forge("batch", "--url", server.url, str(write(tmp_path / "in.jsonl", lines)), str(out))
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert f"{len(lines)} of {len(lines)} lines have results".encode() in done.stderr
    assert not (tmp_path / "out.errors.jsonl").exists()
    results = read(out)
    assert results.keys() == {line["custom_id"] for line in lines}
    with server.client() as client:
        for line in lines[:: len(urls) + 1]:
            alone = client.post(line["url"], json=line["body"]).json()
            found = results[line["custom_id"]]
            assert said(found["response"]["body"]) == said(alone)
            assert found["response"]["request_id"]
            assert found["error"] is None


def test_what_failed_is_tried_again(server: ForgeServer, tmp_path: Path) -> None:
    good = [asked(str(n), "hi") for n in range(3)]
    bad = [asked("bad", "hi", temperature=-1), asked("unknown", "hi", model="gpt-none")]
    file, out, errors = (tmp_path / name for name in ("in.jsonl", "out", "out.errors.jsonl"))
    command = ("batch", "--url", server.url, str(file), str(out))
    write(file, [*good, *bad])
    done = forge(*command)
    assert done.returncode == 1
    assert b"3 of 5 lines have results" in done.stderr
    assert b"2 failed: " + str(errors).encode() in done.stderr
    failed = read(errors)
    assert {name: each["response"]["status_code"] for name, each in failed.items()} == {
        "bad": 400,
        "unknown": 404,
    }
    before = out.read_bytes()
    again = forge(*command)
    assert (again.returncode, out.read_bytes()) == (1, before)
    assert read(errors).keys() == failed.keys()
    done = forge(*command, "--model", ALIAS)
    assert done.returncode == 1  # no model helps against a wrong temperature
    assert read(out).keys() == {"0", "1", "2", "unknown"}
    write(file, [*good, asked("bad", "hi"), bad[1]])
    assert forge(*command).returncode == 0
    assert out.read_bytes().startswith(before)
    assert not errors.exists()
    nothing = forge(*command)
    assert nothing.returncode == 0
    assert b"has the results of all 5 lines" in nothing.stderr


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*FORGE, "batch", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=interruptible,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_where_it_was_ended(
    server: ForgeServer, tmp_path: Path, number: signal.Signals
) -> None:
    lines = [asked(str(n), f"tell me a story of {n}", ignore_eos=True) for n in range(150)]
    file, out = write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    command = ("--url", server.url, "--concurrency", "4", str(file), str(out))
    process = start(*command)
    eventually(lambda: out.exists() and out.read_bytes().count(b"\n") >= 10, "ten results")
    process.send_signal(number)
    _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert b"Traceback" not in told
    assert number == signal.SIGKILL or b"the same command goes on" in told
    eventually(lambda: server.busy() == 0, "nothing is computed for a client that left")
    before = out.read_bytes()
    written = before.count(b"\n")
    assert written < len(lines)
    whole = before[: before.rindex(b"\n") + 1]
    out.write_bytes(whole + b'{"id":"batch_req_00", "cust')  # what a dying disk might leave
    assert forge("batch", *command).returncode == 0
    assert out.read_bytes().startswith(whole)
    assert read(out).keys() == {str(n) for n in range(150)}


def test_a_server_that_is_killed_and_comes_back(start_server: Start, tmp_path: Path) -> None:
    port = free_port()
    options = ("--workers", "1", "--slots", "2")
    first = start_server(*options, port=port)
    lines = [asked(str(n), f"story {n}", ignore_eos=True, max_tokens=32) for n in range(60)]
    file, out = write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    process = start("--url", first.url, str(file), str(out))
    eventually(lambda: out.exists() and out.read_bytes().count(b"\n") >= 5, "five results")
    first.process.kill()
    first.process.wait()
    second = start_server(*options, port=port)
    _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, told
    assert read(out).keys() == {str(n) for n in range(60)}
    second.stop()


def test_a_queue_that_is_full_is_waited_for(start_server: Start, tmp_path: Path) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--max-queue", "1")
    lines = [asked(str(n), "hi", max_tokens=2) for n in range(12)]
    file, out = write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    done = forge("batch", "--url", server.url, "--concurrency", "4", str(file), str(out))
    assert done.returncode == 0, done.stderr
    assert len(read(out)) == 12
    accept = {"Accept": "text/plain"}
    metrics = httpx.get(f"{server.url}/metrics", headers=accept).text
    counted = re.findall(r"^forge_requests_total\{(.*)\} [1-9]", metrics, re.MULTILINE)
    assert counted
    assert all('class="batch"' in labels for labels in counted)
    server.stop()


@pytest.mark.skipif(
    occupied(), reason="port 8080 of this machine is in use: a server would be found"
)
def test_a_server_of_its_own(tmp_path: Path) -> None:
    """Which ends with it; the lines were written for another model."""
    lines = [asked(str(n), "what is 2+2?", model="gpt-4o-mini") for n in range(5)]
    file, out = write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    kept = tmp_path / "kept"
    env = {"FORGE_DATA_DIR": str(kept)}
    done = forge("batch", "--model", str(MODEL), str(file), str(out), env=env)
    assert done.returncode == 0, done.stderr
    assert len(read(out)) == 5
    assert not kept.exists()


def test_files_and_options_that_cant_be_used(server: ForgeServer, tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", [asked("a", "x")])
    broken = write(tmp_path / "broken.jsonl", [asked("a", "x"), asked("b", "x", stream=True)])
    notes = tmp_path / "notes.txt"
    notes.write_text("do not lose this\n")
    out = str(tmp_path / "out.jsonl")
    url = ("--url", server.url)
    for arguments, code, told in (
        ((*url, str(broken), out), 2, "broken.jsonl, line 2: 'stream'"),
        ((*url, str(tmp_path / "none"), out), 2, "can't read"),
        ((*url, str(file), str(notes)), 2, "line 1, is not a result of a batch"),
        ((*url, str(file), str(file)), 2, "IN and OUT are the same file"),
        ((*url, str(file), str(tmp_path / "none" / "out")), 2, "can't write"),
        ((*url, "--priority", "never", str(file), out), 2, "--priority"),
        ((*url, "--concurrency", "0", str(file), out), 2, "1 to 10000"),
        ((*url, "--model", "none", str(file), out), 1, "has no model 'none'"),
        (("--url", "nonsense", str(file), out), 1, "no address"),
        (("--url", f"http://127.0.0.1:{free_port()}", str(file), out), 1, "does not answer"),
    ):
        done = forge("batch", *arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert told in done.stderr.decode()
        assert done.stdout == b""
    assert notes.read_text() == "do not lose this\n"
    assert not Path(out).exists() or Path(out).read_bytes() == b""


def test_a_key_that_is_wrong_is_said_once(start_server: Start, tmp_path: Path) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--api-key", "secret", key="secret")
    file, out = write(tmp_path / "in.jsonl", [asked("a", "x")]), tmp_path / "out.jsonl"
    done = forge("batch", "--url", server.url, str(file), str(out))
    assert done.returncode == 1
    assert b"FORGE_API_KEY" in done.stderr
    env = {"FORGE_API_KEY": "secret"}
    assert forge("batch", "--url", server.url, str(file), str(out), env=env).returncode == 0
    assert len(read(out)) == 1
    server.stop()
