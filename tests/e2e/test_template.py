"""A chat template that the operator gives, in place of the model's."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import Start
from tests.support.server import DEADLINE_S, environment

OURS = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}>"
TALK = {"messages": [{"role": "user", "content": "hello"}]}


def prompt(url: str) -> str:
    answer = httpx.post(f"{url}/apply-template", json=TALK).raise_for_status()
    return str(answer.json()["prompt"])


@pytest.mark.parametrize("by_file", [False, True])
def test_it_is_used(start_server: Start, tmp_path: Path, by_file: bool) -> None:
    file = tmp_path / "ours.jinja"
    file.write_text(OURS, encoding="utf-8")
    given = ("--chat-template-file", str(file)) if by_file else ("--chat-template", OURS)
    server = start_server("--workers", "1", *given)
    assert prompt(server.url) == "[user] hello\n>"
    chat = httpx.post(f"{server.url}/v1/chat/completions", json=TALK | {"max_tokens": 1})
    assert chat.status_code == 200
    tokens = httpx.post(f"{server.url}/tokenize", json={"content": "[user] hello\n>"}).json()
    special = httpx.post(
        f"{server.url}/tokenize", json={"content": "[user] hello\n>", "add_special": True}
    ).json()
    counted = chat.json()["usage"]["prompt_tokens"]
    assert counted in {len(tokens["tokens"]), len(special["tokens"])}


@pytest.mark.parametrize(
    ("given", "reason", "code"),
    [
        (("--chat-template", "{% if %}"), "template is broken: line 1: ", 1),
        (("--chat-template-file", "nowhere.jinja"), "--chat-template-file: expected a file of ", 2),
        (("--chat-template", "{{ x }}", "--chat-template-file", __file__), "none beside --chat", 2),
        (("--chat-template", "no-such-name"), "--chat-template: expected a template in Jinja", 2),
    ],
)
def test_what_is_wrong_with_it_is_told(given: tuple[str, ...], reason: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "serve", "--port", "0", "--workers", "1", *given],
        capture_output=True, text=True, timeout=DEADLINE_S, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.startswith("forge serve: error: ")
    assert reason in line
