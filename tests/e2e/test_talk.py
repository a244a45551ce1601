"""``forge chat`` as its users have it: in a real terminal."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pexpect
import pytest

from gateway.cli.chat.client import Client, RequestFailed
from tests.conftest import Start
from tests.support.server import DEADLINE_S, ForgeServer, environment, eventually, gone
from tests.support.terminal import FORGE, LONG, READY, Terminal, forge, interruptible, occupied


@pytest.fixture
def chat(server: ForgeServer, tmp_path: Path) -> Iterator[Terminal]:
    """With the server that all tests share."""
    terminal = Terminal(tmp_path, "--url", server.url, "--temperature", "0")
    yield terminal
    terminal.child.close(force=True)


def test_a_chat_without_the_extra(server: ForgeServer, tmp_path: Path) -> None:
    """The terminal alone edits the lines, and a line says how to get more."""
    source = "import sys; sys.modules['prompt_toolkit'] = None; from gateway.cli.main import main"
    command = f"{source}; sys.exit(main())"
    child: pexpect.spawn[str] = pexpect.spawn(
        FORGE[0],
        ["-c", command, "chat", "--url", server.url, "--temperature", "0"],
        env=environment({"XDG_STATE_HOME": str(tmp_path), "TERM": "xterm"}),
        encoding="utf-8",
        timeout=DEADLINE_S,
        preexec_fn=interruptible,
    )
    child.expect("pip install prompt-toolkit")
    child.expect(">>> ")
    child.sendline("What is 2 + 2?")
    child.expect(r"4\.")
    child.expect(r"\d+ tokens")
    child.expect(">>> ")
    child.sendline("two\\")
    child.expect(re.escape("... "))
    child.sendintr()
    child.expect(">>> ")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_chat(chat: Terminal, tmp_path: Path) -> None:
    chat.type("What is 2 + 2?")
    chat.expect(r"4\.")
    chat.expect(r"\d+ tokens, [\d.]+ tokens/s, first after [\d.]+ s, [\d.]+ s of it in the queue")
    chat.type("/sytem You are brief.")
    chat.expect("did you mean /system")
    chat.type("/system You are brief.")
    chat.expect("system: You are brief.")
    chat.type("/model")
    chat.expect(r"\* forge-tiny \(loaded\)")
    chat.type("/model nobody")
    chat.expect("no model 'nobody'; it has forge-tiny")
    chat.type("/priority urgent")
    chat.expect("priority: urgent")
    chat.type("two\\")
    chat.child.send("lines\r")
    chat.expect(r"\d+ tokens")
    file = tmp_path / "talk.json"
    chat.type(f"/save {file}")
    chat.expect("4 messages are in")
    chat.type(f"/save {file}")
    chat.expect("there already")
    chat.type("/reset")
    chat.expect("new conversation")
    chat.type(f"/load {file}")
    chat.expect("4 messages of")
    assert chat.leave() == 0
    messages = json.loads(file.read_text())["messages"]
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 2]
    assert messages[3]["content"] == "two\nlines"
    assert "What is 2 + 2?" in (tmp_path / "forge" / "history").read_text()


def test_the_priority_reaches_the_server(chat: Terminal) -> None:
    """And what it refuses is not lost."""
    chat.type("/priority never")
    chat.type("What is 2 + 2?")
    chat.expect("error: 'priority' must be")
    chat.type("/priority urgent")
    chat.type("/retry")
    chat.expect(r"4\.")
    assert chat.leave() == 0


def test_ctrl_c_stops_an_answer(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", "--slots", "1", model=exact[0])
    chat = Terminal(tmp_path, "--url", server.url, "--max-tokens", "100000")
    chat.type(LONG)
    chat.expect(r"\w+ \w+ \w+")
    eventually(lambda: server.busy() == 1, "it is computed")
    chat.child.sendintr()
    chat.expect("stopped; /retry asks again|tokens/s")
    eventually(lambda: server.busy() == 0, "nothing is computed for nobody")
    assert chat.leave() == 0
    server.stop()


def test_a_server_that_dies_in_an_answer(start_server: Start, tmp_path: Path) -> None:
    """Its words stay, and so does the chat."""
    server = start_server("--workers", "1", "--slots", "1")
    chat = Terminal(tmp_path, "--url", server.url)
    chat.type("What is 2 + 2?")
    chat.expect(r"\d+ tokens")
    server.process.kill()
    server.wait()
    chat.type("And 3 + 3?")
    chat.expect("error: .*does not answer")
    chat.type(f"/save {tmp_path / 'talk.json'}")
    chat.expect("3 messages are in")
    assert chat.leave() == 0


def test_lines_of_a_pipe_are_turns(server: ForgeServer) -> None:
    given = b"What is 2 + 2?\n/model\nTwo\\\nlines\n/nothing\n"
    done = forge("chat", "--url", server.url, "--temperature", "0", given=given)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode()
    assert "4." in shown
    assert "* forge-tiny (loaded)" in shown
    assert shown.count("tokens/s") == 2
    assert "no command /nothing" in shown


# ---------------------------------------------------------------------- a server of its own


@pytest.mark.skipif(
    occupied(), reason="port 8080 of this machine is in use: a server would be found"
)
def test_a_server_of_its_own_ends_with_it(tmp_path: Path) -> None:
    chat = Terminal(tmp_path)
    address = re.search(r"forge-tiny at (http://[\d.:]+);", chat.expect(READY))
    assert address is not None
    pids = [worker["pid"] for worker in httpx.get(f"{address[1]}/workers").json()]
    chat.child.send("What is 2 + 2?\r")
    chat.expect("tokens/s")
    assert chat.leave() == 0
    eventually(lambda: all(map(gone, pids)), "its workers end")
    with Client(address[1], None) as late, pytest.raises(RequestFailed, match="not answer"):
        late.models()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
@pytest.mark.skipif(
    occupied(), reason="port 8080 of this machine is in use: a server would be found"
)
def test_a_server_of_its_own_ends_with_a_killed_chat(tmp_path: Path) -> None:
    chat = Terminal(tmp_path)
    address = re.search(r"forge-tiny at (http://[\d.:]+);", chat.expect(READY))
    assert address is not None
    pids = [worker["pid"] for worker in httpx.get(f"{address[1]}/workers").json()]
    chat.child.kill(signal.SIGKILL)
    chat.child.wait()
    eventually(lambda: all(map(gone, pids)), "its workers end")
    with Client(address[1], None) as late, pytest.raises(RequestFailed, match="not answer"):
        late.models()
