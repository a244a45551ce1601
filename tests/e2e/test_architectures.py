"""Models of many architectures behind one gateway: each is loaded, serves, and goes again."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gguf import PoolingType

from tests.support.architectures import ANSWER, ARCHITECTURES, PROMPT, write
from tests.support.dialects import data_of
from tests.support.encoder import encoder
from tests.support.server import DEADLINE_S, MODEL, ForgeServer, eventually, freeze, gone

SHARED = """
workers = 1
slots = 3
ctx = 2048
batch = 128
threads = 1
cache-type-k = "f32"
cache-type-v = "f32"
flash-attn = "off"
cache-ram = 64
"""
UNCUT = [name for name, made in ARCHITECTURES.items() if made.sliding or made.recurrent]
"""Architectures whose memory can be neither cut nor shared."""
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 24}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    folder = tmp_path_factory.mktemp("architectures")
    text = SHARED
    for name in ARCHITECTURES:
        write(name, MODEL, folder / f"{name}.gguf")
        text += f"[models.{name}]\nmodel = '{folder}/{name}.gguf'\n"
    encoder(folder / "bert.gguf", PoolingType.CLS)
    text += f"[models.bert]\nmodel = '{folder}/bert.gguf'\nctx = 64\n"
    (folder / "forge.toml").write_text(text)
    with ForgeServer(folder, "--config", str(folder / "forge.toml"), model=None).serving() as made:
        yield made


def post(server: ForgeServer, path: str, model: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json={"model": model, **body}, timeout=DEADLINE_S)


def complete(server: ForgeServer, model: str, prompt: list[int], **params: Any) -> dict[str, Any]:
    answer = post(server, "/v1/completions", model, prompt=prompt, **{**GREEDY, **params})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def pids(server: ForgeServer, model: str) -> list[int]:
    return [each["pid"] for each in server.workers() if each["model"] == model]


def unload(server: ForgeServer, model: str) -> None:
    """Its processes end."""
    had = pids(server, model)
    assert had
    assert post(server, "/models/unload", model).json()["state"] == "unloaded"
    assert pids(server, model) == []
    eventually(lambda: all(map(gone, had)), f"{had} are gone")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_is_loaded_generates_and_goes(server: ForgeServer, name: str) -> None:
    """A chat, three answers that are one text, and a vector; then it is unloaded."""
    messages = [{"role": "user", "content": "Once upon a time"}]
    chat = post(server, "/v1/chat/completions", name, messages=messages, **GREEDY).json()
    assert (chat["model"], chat["usage"]["completion_tokens"]) == (name, 24)
    alone = complete(server, name, PROMPT, cache_prompt=False)["choices"][0]["text"]
    choices = complete(server, name, PROMPT, n=3)["choices"]
    assert [choice["text"] for choice in choices] == [alone] * 3
    vector = post(server, "/v1/embeddings", name, input="hello").json()["data"][0]["embedding"]
    assert len(vector) == 64
    unload(server, name)


def test_the_encoder_embeds_and_says_what_it_cannot(server: ForgeServer) -> None:
    messages = [{"role": "user", "content": "x"}]
    for path, body in (
        ("/v1/chat/completions", {"messages": messages}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/completions", {"prompt": "x", "stream": True, "n": 2}),
        ("/infer", {"query": "x"}),
    ):
        refused = post(server, path, "bert", **body)  # the first one by the worker: it was asleep
        assert refused.status_code == 400, (path, refused.text)
        assert "'bert' embeds and does not generate text" in refused.text
    answer = post(server, "/v1/embeddings", "bert", input=["a b", "c"]).json()
    assert [len(each["embedding"]) for each in answer["data"]] == [32, 32]
    unload(server, "bert")


def interrupted(server: ForgeServer, body: dict[str, Any], pid: int) -> tuple[str, bool]:
    """A stream's text, and whether the worker was killed after the first piece of it."""
    pieces, killed = list[str](), False
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=DEADLINE_S) as it:
        for data in data_of(it.iter_lines()):
            if data == "[DONE]":
                break
            pieces.append(json.loads(data)["choices"][0]["text"])
            if len(pieces) == 1:
                freeze(pid)
                killed = server.busy() == 1
                os.kill(pid, signal.SIGKILL if killed else signal.SIGCONT)
    return "".join(pieces), killed


@pytest.mark.parametrize("name", UNCUT)
def test_a_killed_worker_changes_no_text(server: ForgeServer, name: str) -> None:
    """Another one computes the prompt and what was said, and goes on."""
    params = {"max_tokens": ANSWER}
    expected = complete(server, name, PROMPT, **params, cache_prompt=False)["choices"][0]["text"]
    (pid,) = pids(server, name)
    body = {"model": name, "prompt": PROMPT, "stream": True, **GREEDY, **params}
    for _ in range(10):  # a test that is not given the processor comes too late
        text, killed = interrupted(server, body, pid)
        assert text == expected
        if killed:
            break
    else:
        raise AssertionError("it was never killed in the middle")
    assert pids(server, name) != [pid]
    unload(server, name)
