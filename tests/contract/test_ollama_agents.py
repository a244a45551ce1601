"""Requests of the shape that programs made for Ollama send, and what they read of the answers."""

import json
from typing import Any

import httpx
import pytest

from gateway.api.field_policy import HEADER
from tests.support.server import ALIAS

NAME = f"{ALIAS}:latest"
"""As programs learn it from the list of models."""
HELLO = {"role": "user", "content": "what is 2+2?"}


def lines(response: httpx.Response) -> list[Any]:
    """The lines of a stream, read as ollama-js does: the last one says that it is the last."""
    assert response.status_code == 200, response.text
    found = [json.loads(line) for line in response.text.split("\n") if line]
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
    return found


# ------------------------------------------------------------------ Open WebUI

WEBUI_OPTIONS = {
    "num_ctx": 4096,
    "num_batch": 512,
    "num_keep": 24,
    "num_predict": 128,
    "num_gpu": 99,
    "num_thread": 4,
    "use_mmap": True,
    "use_mlock": False,
    "repeat_last_n": 64,
    "repeat_penalty": 1.1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "temperature": 0.7,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "tfs_z": 1,
    "mirostat": 0,
    "mirostat_eta": 0.1,
    "mirostat_tau": 5,
    "seed": 0,
    "stop": ["<|im_end|>", "###"],
}
WEBUI = {
    "model": NAME,
    "messages": [{"role": "system", "content": "Be brief."}, {**HELLO, "images": []}],
    "stream": True,
    "options": WEBUI_OPTIONS,
    "keep_alive": "5m",
    "think": False,
    "metadata": {"user_id": "u", "chat_id": "c", "message_id": "m", "features": {}},
}


def test_open_webui_chats(answering: httpx.Client) -> None:
    response = answering.post("/api/chat", json=WEBUI)
    assert HEADER not in response.headers, "nothing of it has to be told"
    *chunks, last = lines(response)
    assert all(chunk["message"]["role"] == "assistant" for chunk in chunks)
    assert last["model"] == NAME
    for name in ("eval_count", "eval_duration", "prompt_eval_count", "total_duration"):
        assert isinstance(last[name], int)


@pytest.mark.parametrize("keep_alive", [0, -1, 1800, "30m", "-1m"])
def test_open_webui_says_how_long(answering: httpx.Client, keep_alive: Any) -> None:
    lines(answering.post("/api/chat", json={**WEBUI, "keep_alive": keep_alive}))


def test_open_webui_unloads(answering: httpx.Client) -> None:
    body = {"model": NAME, "keep_alive": 0, "prompt": ""}
    (only,) = lines(answering.post("/api/generate", json=body))
    assert only["done_reason"] == "unload"


def test_open_webui_asks_for_titles(answering: httpx.Client) -> None:
    """With a schema, whole, and fields that its middle layer leaves in."""
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    body = {**WEBUI, "stream": False, "format": schema, "chat_id": "c", "session_id": "s"}
    answer = answering.post("/api/chat", json=body)
    assert answer.status_code == 200
    assert isinstance(answer.json()["message"]["content"], str)
    assert answer.headers[HEADER] == "chat_id, session_id"


def test_open_webui_proxies_other_dialects(answering: httpx.Client) -> None:
    for path, body in (
        ("/v1/chat/completions", {"messages": [HELLO]}),
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/embeddings", {"input": "hi"}),
        ("/v1/messages", {"messages": [HELLO], "max_tokens": 9}),
        ("/v1/responses", {"input": "hi"}),
    ):
        answer = answering.post(path, json={"model": NAME, **body})
        assert answer.status_code == 200, answer.text


def test_open_webui_embeds(answering: httpx.Client) -> None:
    body = {"model": NAME, "input": ["a", "b"], "truncate": True}
    assert len(answering.post("/api/embed", json=body).json()["embeddings"]) == 2
    old = answering.post("/api/embeddings", json={"model": NAME, "prompt": "a"})
    assert old.json()["embedding"]


def test_open_webui_tests_the_connection(answering: httpx.Client) -> None:
    assert answering.get("/api/version").json().keys() == {"version"}
    assert answering.head("/").status_code == 200


# ------------------------------------------------------------------ Continue


def test_continue_chats(answering: httpx.Client) -> None:
    body = {
        "model": ALIAS,
        "messages": [HELLO],
        "options": {
            "temperature": 0.5, "num_predict": 2048, "num_ctx": 8192, "stop": [], "num_gpu": 1,
            "num_thread": 8, "use_mmap": True, "mirostat": None, "keep_alive": 1800,
        },
        "keep_alive": 1800,
        "stream": True,
        "raw": None,
    }  # fmt: skip
    assert lines(answering.post("/api/chat", json=body))[0]["message"]["content"]


def test_continue_completes_code(answering: httpx.Client) -> None:
    """Its own format of the gap goes as it is; a suffix is for models that take one."""
    body = {
        "model": ALIAS,
        "prompt": "<fim_prefix>def f(<fim_suffix>return 1<fim_middle>",
        "raw": True,
        "options": {"temperature": 0.01, "num_predict": 64, "num_ctx": 4096, "stop": ["\n\n"]},
        "keep_alive": 1800,
        "stream": True,
    }
    *chunks, last = lines(answering.post("/api/generate", json=body))
    assert "".join(chunk["response"] for chunk in chunks)
    assert last["response"] == ""
    refused = answering.post("/api/generate", json={**body, "raw": None, "suffix": "return 1"})
    assert refused.json()["error"].endswith("does not support insert")


# ------------------------------------------------------------------ Copilot, Home Assistant


def test_copilot_chats_in_openais_dialect(answering: httpx.Client) -> None:
    """After a look at the version, which it compares as numbers."""
    version = answering.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
    tool = {"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}
    body = {
        "model": NAME, "messages": [HELLO], "tools": [tool], "stream": True, "n": 1,
        "temperature": 0.1, "top_p": 1, "max_tokens": 64, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert answering.post("/v1/chat/completions", json=body).status_code == 200


def test_home_assistant_calls(http: httpx.Client) -> None:
    """Numbers of its forms have a point, and results no names of their calls."""
    tool = {
        "type": "function",
        "function": {
            "name": "HassTurnOn",
            "description": "Turns on a device",
            "parameters": {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "required": [],
            },
        },
    }
    call = {"function": {"name": "HassTurnOn", "arguments": {"name": "lamp"}}}
    body = {
        "model": ALIAS,
        "messages": [
            {"role": "system", "content": "You control a house."},
            {"role": "user", "content": "Turn on the lamp."},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": '{"success": true}'},
        ],
        "tools": [tool],
        "stream": True,
        "keep_alive": "-1s",
        "options": {"num_ctx": 8192.0},
        "think": False,
    }
    assert lines(http.post("/api/chat", json=body))


def test_presence(answering: httpx.Client) -> None:
    """Launchers look for these words, and for the endpoints, before they ask anything."""
    assert answering.get("/").text == "Ollama is running"
    for path in ("/", "/api/version"):
        assert answering.head(path).status_code == 200
