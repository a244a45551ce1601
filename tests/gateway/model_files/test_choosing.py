"""forge pull without a name: a table and a question, the download, and serving what came."""

import subprocess
import sys
from pathlib import Path

import pexpect

from gateway.model_files.suggestions import SUGGESTIONS
from tests.conftest import Start
from tests.support.hub import Hub
from tests.support.server import DEADLINE_S, MODEL, environment

CONTENT = MODEL.read_bytes()
PULL = ("-m", "gateway.cli", "pull")
FIRST = SUGGESTIONS[0].source
REPOSITORY = FIRST.removeprefix("hf:")


def terminal(hub: Hub, home: Path) -> "pexpect.spawn[str]":
    env = environment({**hub.environment(str(home)), "COLUMNS": "120", "TERM": "dumb"})
    return pexpect.spawn(
        sys.executable, list(PULL), env=env, encoding="utf-8", timeout=DEADLINE_S,
        dimensions=(40, 120),
    )  # fmt: skip


def test_without_a_terminal_there_is_a_table_and_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *PULL], capture_output=True, text=True, env=environment(),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    rows = [number for number, line in enumerate(lines) if " hf:" in line]
    assert rows
    for row, model in zip(rows, SUGGESTIONS, strict=False):
        assert model.source in lines[row]
        assert lines[row].count("iB") == 2  # its size, and the memory that it takes
        assert model.licence in lines[row + 1]
    (line,) = done.stderr.splitlines()
    assert line.startswith("forge pull: error: no terminal to choose in; name one: forge pull hf:")


def test_a_number_pulls_and_serve_goes_on_from_there(
    hub: Hub, tmp_path: Path, start_server: Start
) -> None:
    hub.repositories[REPOSITORY] = {"model-Q4_K_M.gguf": CONTENT}
    child = terminal(hub, tmp_path)
    child.expect(r"Which one\? \[1-\d+\] ")
    assert REPOSITORY in str(child.before)
    child.sendline("none")
    child.expect(r"Which one\? ")
    child.sendline("1")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    told = str(child.before)
    assert "model-Q4_K_M.gguf" in told
    options = told.split("forge serve ")[1].split()
    assert options[:2] == ["--model", FIRST]
    server = start_server(*options, model=None, env=hub.environment(str(tmp_path))).wait_ready()
    with server.client() as client:
        answer = client.post("/infer", json={"query": "what is 2+2?"}).json()
    assert answer["model"] == "model-Q4_K_M"
    assert "forge pull" not in server.stdout  # of a real model the banner needs no hint


def test_no_choice_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    child = terminal(hub, tmp_path)
    child.expect(r"Which one\? ")
    child.sendeof()
    child.expect("nothing was downloaded")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert hub.seen == []
