"""``forge run`` as its users have it: an answer, and a line about what is wrong."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import Start
from tests.support.server import DEADLINE_S, ForgeServer, eventually, free_port
from tests.support.terminal import FORGE, LONG, forge, interruptible, occupied


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
