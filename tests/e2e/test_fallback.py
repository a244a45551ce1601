"""Models whose file brings no chat template, or one that is of no use."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gguf import PoolingType

from gateway.config.config import EMBEDDED_MODEL
from tests.conftest import Start
from tests.support.encoder import encoder
from tests.support.f32 import f32_copy
from tests.support.server import DEADLINE_S, ForgeServer, environment

MESSAGES = [{"role": "user", "content": "hello"}]
RENAMED = {"<|im_start|>": "<|a|>", "<|im_end|>": "<|b|>"}


def post(server: ForgeServer, path: str, **body: object) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=DEADLINE_S)


def warnings(server: ForgeServer) -> list[str]:
    return [line for line in server.stderr.splitlines() if "model mute" in line]


def shown(path: Path) -> str:
    command = [sys.executable, "-m", "gateway.cli", "show", str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment(), timeout=DEADLINE_S
    ).stdout


def test_without_a_template(start_server: Start, tmp_path: Path) -> None:
    """ChatML, whose marks end the answer also where they are mere text; and one warning."""
    path = tmp_path / "mute.gguf"
    f32_copy(EMBEDDED_MODEL, path, template="", renamed=RENAMED)
    server = start_server("--workers", "2", "--slots", "1", "--threads", "1", model=path)
    prompt = post(server, "/apply-template", messages=MESSAGES).json()["prompt"]
    assert prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    for mark in ("<|im_end|>", "<|im_start|>"):
        said = f'start: "Hi there.{mark}\\nAnd more."'
        chat = post(server, "/v1/chat/completions", messages=MESSAGES, grammar=said).json()
        assert chat["choices"][0]["message"]["content"] == "Hi there."
        assert chat["choices"][0]["finish_reason"] == "stop"
        text = post(server, "/v1/completions", prompt="x", grammar=said, max_tokens=200).json()
        assert text["choices"][0]["text"] == f"Hi there.{mark}\nAnd more.", "no chat, no marks"
    assert len(server.pids()) == 2
    server.stop()
    (line,) = warnings(server)
    assert "it brings no chat template, so chats are written as ChatML; --chat-template" in line
    assert "none: chats are written as ChatML" in shown(path)


def test_of_several_models_each_is_warned_of_once(start_server: Start, tmp_path: Path) -> None:
    """By its name for clients, however often it comes back; who can't chat needs no template."""
    path, vectors = tmp_path / "file.gguf", tmp_path / "vectors.gguf"
    f32_copy(EMBEDDED_MODEL, path, template="")
    encoder(vectors, PoolingType.MEAN)
    tables = "".join(
        f"[models.{name}]\nmodel = '{file}'\n"
        for name, file in (("mute", path), ("other", EMBEDDED_MODEL), ("vectors", vectors))
    )
    (tmp_path / "forge.toml").write_text(f"workers = 1\nslots = 1\ncache-ram = 0\n{tables}")
    server = start_server("--config", str(tmp_path / "forge.toml"), model=None)
    for name in ("mute", "other", "vectors"):
        assert post(server, "/models/load", model=name).status_code == 200
    assert post(server, "/models/unload", model="mute").status_code == 200
    assert post(server, "/models/load", model="mute").status_code == 200
    server.stop()
    (line,) = [line for line in server.stderr.splitlines() if "chat template" in line]
    assert "model mute: it brings no chat template" in line


USUAL = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}>"
FOR_TOOLS = (
    "{% for tool in tools %}<tool>{{ tool.function.name }}</tool>{% endfor %}"
    "{% for message in messages %}{% if message.role == 'tool' %}<tool_response>"
    "{{ message.content }}</tool_response>{% elif message.tool_calls %}"
    "{% for call in message.tool_calls %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>"
    "{% endfor %}{% else %}[{{ message.role }}] {{ message.content }}\n{% endif %}{% endfor %}>"
)
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def test_a_second_template_for_tools(start_server: Start, tmp_path: Path) -> None:
    """As some models bring it: requests with tools get that, in the family it is written for."""
    path = tmp_path / "two.gguf"
    f32_copy(EMBEDDED_MODEL, path, template=USUAL, for_tools=FOR_TOOLS)
    server = start_server("--workers", "1", "--slots", "1", model=path)
    plain = post(server, "/apply-template", messages=MESSAGES).json()["prompt"]
    assert plain == "[user] hello\n>"
    tooled = post(server, "/apply-template", messages=MESSAGES, tools=[TOOL]).json()["prompt"]
    assert tooled == "<tool>add</tool>[user] hello\n>"
    chat = post(server, "/v1/chat/completions", messages=MESSAGES, tools=[TOOL], max_tokens=100,
                tool_choice="required").json()  # fmt: skip
    assert chat["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "add"
    assert re.search(r"chat template +yes .*, and another for tools", shown(path))
    assert re.search(r"tools +hermes", shown(path))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "mute.gguf"
    f32_copy(EMBEDDED_MODEL, path, template="{% if %}")
    return path


def test_a_broken_one_costs_only_the_chats(start_server: Start, broken: Path) -> None:
    server = start_server("--workers", "2", "--threads", "1", model=broken)
    text = post(server, "/v1/completions", prompt="x", grammar='start: "yes"').json()
    assert text["choices"][0]["text"] == "yes"
    for path in ("/v1/chat/completions", "/apply-template"):
        answer = post(server, path, messages=MESSAGES)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["code"] == "model_not_supported"
        reason = "this model can't chat: the model's chat template is broken: line 1: "
        assert error["message"].startswith(reason)
    assert len(server.pids()) == 2
    server.stop()
    (line,) = warnings(server)
    assert "chats are refused, since the model's chat template is broken: line 1: " in line


def test_the_operators_takes_the_place_of_a_broken_one(start_server: Start, broken: Path) -> None:
    ours = ("--chat-template", "<{{ messages[0].content }}>")
    server = start_server("--workers", "1", "--threads", "1", *ours, model=broken)
    assert post(server, "/apply-template", messages=MESSAGES).json() == {"prompt": "<hello>"}
    chat = post(server, "/v1/chat/completions", messages=MESSAGES, max_tokens=1)
    assert chat.status_code == 200
    server.stop()
    assert warnings(server) == []
