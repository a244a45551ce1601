"""``forge run`` and ``forge chat`` as their users have them: pipes, and a real terminal."""

import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pexpect
import pytest

from gateway.cli.chat.client import Client, RequestFailed
from tests.conftest import Start
from tests.support.server import DEADLINE_S, ForgeServer, environment, eventually, free_port, gone

FORGE = [sys.executable, "-m", "gateway.cli"]
LONG = "Tell me a very long story."
READY = ">>>"


def forge(
    *arguments: str, given: bytes = b"", env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """A command that ends by itself; ``given``: what comes on stdin."""
    return subprocess.run(
        [*FORGE, *arguments],
        input=given,
        capture_output=True,
        timeout=DEADLINE_S,
        env=environment(env),
    )


def interruptible() -> None:
    """Shells start what is in the background without Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def occupied() -> bool:
    """Whether somebody has the usual port of this machine."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", 8080)) == 0


class Terminal:
    """``forge chat`` in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.shown = io.StringIO()
        env = environment(
            {"XDG_STATE_HOME": str(folder), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        )
        self.child: pexpect.spawn[str] = pexpect.spawn(
            FORGE[0],
            [*FORGE[1:], "chat", *arguments],
            env=env,
            encoding="utf-8",
            timeout=DEADLINE_S,
            dimensions=(50, 200),
            preexec_fn=interruptible,
            logfile=self.shown,
        )

    def expect(self, pattern: str) -> str:
        """Wait until it is shown; what was shown before it."""
        self.child.expect(pattern)
        return str(self.child.before)

    def type(self, line: str) -> None:
        """A line, as soon as it asks for one."""
        self.child.expect(READY)
        self.child.send(line + "\r")

    def leave(self) -> int:
        """Ctrl-D; the exit code."""
        self.child.expect(READY)
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus is not None, self.shown.getvalue()
        return int(self.child.exitstatus)


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


# ---------------------------------------------------------------------- forge run


def test_the_answer_and_nothing_else_is_printed(server: ForgeServer) -> None:
    done = forge("run", "--url", server.url, "--temperature", "0", "What is 2 + 2?")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"4" in done.stdout
    assert done.stdout.endswith(b"\n")


def test_the_examples_of_the_guide(server: ForgeServer) -> None:
    """Each does what is shown below it; times are others."""
    guide = (Path(__file__).parents[2] / "docs/guides/terminal.md").read_text("utf-8")
    found = re.findall(
        r"^\$ ((?:echo .*)?forge run .*)\n((?:(?!\$ |```).*\n)*)", guide, re.MULTILINE
    )
    assert len(found) == 3
    for command, shown in found:
        mine = command.replace("forge run", f"{' '.join(FORGE)} run --url {server.url}")
        done = subprocess.run(
            ["bash", "-c", f"{mine} 2>&1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=DEADLINE_S,
        )
        said = done.stdout.decode().replace(server.url, "http://127.0.0.1:8080")
        said = re.sub(r", \d+ of \d+ prompt tokens cached", "", said)
        number = r"\d+\.\d+"
        assert re.sub(number, "0.0", said) == re.sub(number, "0.0", shown)


def test_stdin_is_part_of_the_prompt(server: ForgeServer) -> None:
    """As if all of it had been given as one text."""
    fixed = ("--url", server.url, "--temperature", "0", "--json")
    whole = forge("run", *fixed, "Repeat this.\n\nhello there")
    for arguments, given in (
        (["Repeat this."], b"hello there\n"),
        (["-"], b"Repeat this.\n\nhello there"),
        ([], b"Repeat this.\n\nhello there\n"),
    ):
        done = forge("run", *fixed, *arguments, given=given)
        assert done.returncode == 0, done.stderr
        found, expected = json.loads(done.stdout), json.loads(whole.stdout)
        assert found["text"] == expected["text"]
        assert found["prompt_tokens"] == expected["prompt_tokens"] > 0


def test_figures_go_where_nobody_takes_them_for_the_answer(server: ForgeServer) -> None:
    done = forge("run", "--url", server.url, "--verbose", "--max-tokens", "3", "Tell me a story.")
    assert re.match(rb"3 tokens, .*tokens/s, .*in the queue.*cut off", done.stderr), done.stderr


def test_an_answer_by_a_schema(server: ForgeServer, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}},'
                      '"required": ["n"], "additionalProperties": false}')  # fmt: skip
    done = forge("run", "--url", server.url, "--schema", str(schema), "Give me a number.")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"n"}


def test_a_reader_that_has_enough_ends_it_quietly(server: ForgeServer) -> None:
    command = [*FORGE, "run", "--url", server.url, LONG]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(5)
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    eventually(lambda: server.busy() == 0, "nothing is computed for nobody")


def test_ctrl_c_ends_it(server: ForgeServer) -> None:
    process = subprocess.Popen(
        [*FORGE, "run", "--url", server.url, "--max-tokens", "2000", LONG],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    )
    assert process.stdout is not None
    assert process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (0, 130), "it may just have ended"
    assert b"Traceback" not in said
    eventually(lambda: server.busy() == 0, "nothing is computed for nobody")


@pytest.mark.parametrize(
    ("arguments", "given", "code", "said"),
    [
        ((), b"", 2, "the prompt is empty"),
        (("x",), b"\xff", 2, "not UTF-8"),
        (("x", "--schema", "/nowhere"), b"", 2, "can't read /nowhere"),
        (("x", "--url", "nonsense"), b"", 1, "no address"),
        (("x", "--max-tokens", "0"), b"", 2, "must be 1 or more"),
        (("x", "--model", "nobody"), b"", 1, "no model 'nobody'; it has forge-tiny"),
        (("x", "--priority", "never"), b"", 1, "'priority' must be"),
        (("x", "--temperature", "-1"), b"", 1, "temperature"),
    ],
)
def test_what_is_wrong_is_said(
    server: ForgeServer, arguments: tuple[str, ...], given: bytes, code: int, said: str
) -> None:
    where = () if "--url" in arguments else ("--url", server.url)
    done = forge("run", *where, *arguments, given=given)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert done.stdout == b""


def test_nobody_at_the_address() -> None:
    done = forge("run", "--url", f"http://127.0.0.1:{free_port()}", "x")
    assert done.returncode == 1
    assert b"does not answer" in done.stderr


def test_this_machine_is_not_asked_for_through_a_proxy(start_server: Start) -> None:
    """Nothing listens where the proxy of the environment is said to be."""
    server = start_server("--workers", "1", "--slots", "1", "--host", "0.0.0.0")
    port = httpx.URL(server.url).port
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    hosts = ["127.0.0.1", "localhost", "0.0.0.0", "127.1"]
    for host in hosts + ["127.0.0.2"] * (sys.platform == "linux"):
        url = f"http://{host}:{port}"
        done = forge("run", "--url", url, "--max-tokens", "2", "hi", env=proxies)
        assert done.returncode == 0, (host, done.stderr)
        assert done.stdout.strip()
    server.stop()


def test_a_server_with_keys(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--api-key", "secret", key="secret")
    done = forge("run", "--url", server.url, "x")
    assert done.returncode == 1
    assert b"needs an API key" in done.stderr
    assert b"FORGE_API_KEY" in done.stderr
    done = forge("run", "--url", server.url, "x", env={"FORGE_API_KEY": "secret"})
    assert done.returncode == 0, done.stderr
    server.stop()


# ---------------------------------------------------------------------- forge chat


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


@pytest.mark.skipif(
    occupied(), reason="port 8080 of this machine is in use: a server would be found"
)
def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing more")
    for model, code, said in (
        (str(broken), 1, "can't load this model"),
        ("nobody", 2, "neither a file nor"),
    ):
        done = forge("run", "x", "--model", model)
        assert done.returncode == code, done.stderr
        assert said in done.stderr.decode()
