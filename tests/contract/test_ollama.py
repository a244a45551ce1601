"""Ollama's dialect on real workers: what it has of its own beside the other dialects."""

import json
from typing import Any

import httpx
import jsonschema
import pytest

from tests.support.ollama_requests import (
    CHAT,
    EMBED,
    EMBEDDINGS,
    ENDLESS,
    GENERATE,
    GREEDY,
    lines,
    post,
    said,
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
"""The embedded model calls it by itself; the dialect can't force a call."""


# ------------------------------------------------------------------ names and versions


@pytest.mark.parametrize(
    "name", ["forge-tiny", "forge-tiny:latest", "Forge-Tiny:latest", "library/forge-tiny"]
)
def test_the_name_is_told_as_it_was_asked_for(answering: httpx.Client, name: str) -> None:
    assert post(answering, CHAT, model=name, messages=[said("hi")])["model"] == name


def test_without_a_name_it_is_the_models_own(answering: httpx.Client) -> None:
    assert post(answering, GENERATE, model=None, prompt="hi")["model"] == "forge-tiny"


@pytest.mark.parametrize("name", ["llama3.2", "forge-tiny:7b", ""])
@pytest.mark.parametrize("path", [CHAT, GENERATE, EMBED, EMBEDDINGS])
def test_another_model(front: httpx.Client, path: str, name: str) -> None:
    body = post(front, path, 404, model=name, messages=[said("hi")], prompt="hi", input="hi")
    assert body["code"] == "model_not_found"
    assert body["error"] == f"model '{name}' not found; this server has 'forge-tiny'"


def test_other_dialects_know_the_name_that_is_listed(answering: httpx.Client) -> None:
    """Clients that learn a name at /api/tags ask at /v1 with it."""
    for name, status in (("forge-tiny:latest", 200), ("Forge-Tiny:latest", 404)):
        body = {"model": name, "messages": [said("hi")], "max_tokens": 1}
        assert answering.post("/v1/chat/completions", json=body).status_code == status


def test_a_version_that_clients_accept(front: httpx.Client) -> None:
    version = front.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 14, 0)
    assert front.head("/api/version").status_code == 200


def test_what_is_not_there_is_told_in_the_dialect(front: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/api/experimental/x", 404), ("GET", CHAT, 405), ("POST", "/api", 404)
    ):  # fmt: skip
        response = front.request(method, path)
        assert response.status_code == status
        assert response.json().keys() == {"error", "code"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null"])
def test_what_is_no_body(front: httpx.Client, content: bytes) -> None:
    response = front.post(CHAT, content=content)
    assert response.status_code == 400
    assert isinstance(response.json()["error"], str)


# ------------------------------------------------------------------ chats


def test_a_stream_is_the_whole_answer(exact_http: httpx.Client) -> None:
    body: dict[str, Any] = {"messages": [said("what is 2+2?")], "options": GREEDY}
    whole = post(exact_http, CHAT, **body)
    *chunks, last = lines(exact_http, CHAT, **body)
    assert len(chunks) > 1
    assert "".join(chunk["message"]["content"] for chunk in chunks) == whole["message"]["content"]
    assert [chunk["done"] for chunk in chunks] == [False] * len(chunks)
    assert last["message"] == {"role": "assistant", "content": ""}
    for end in (last, whole):
        assert (end["done"], end["done_reason"]) == (True, "stop")
        assert end["prompt_eval_count"] > 5
        assert end["eval_count"] == whole["eval_count"] > 1
        parts = ("load_duration", "prompt_eval_duration", "eval_duration")
        assert sum(end[name] for name in parts) == end["total_duration"] > 0


def test_a_call_is_an_object(http: httpx.Client) -> None:
    asked: dict[str, Any] = {
        "messages": [said("What is the weather in Paris?")],
        "tools": [WEATHER],
        "options": GREEDY,
    }
    whole = post(http, CHAT, **asked)
    (call,) = whole["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"]["city"] == "Paris"
    assert whole["done_reason"] == "stop"
    told = [chunk["message"].get("tool_calls") for chunk in lines(http, CHAT, **asked)]
    ((streamed,),) = filter(None, told)
    assert streamed["function"] == call["function"]
    results = [said("It is sunny.", "tool"), {**said("Sunny.", "tool"), "tool_name": "get_weather"}]
    for result in results:
        history = [*asked["messages"], whole["message"], result]
        after = post(http, CHAT, **{**asked, "messages": history})
        assert after["message"]["content"]


def test_forms(http: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "title": "Person",
    }
    asked: dict[str, Any] = {
        "messages": [said("Invent a person.")],
        "options": {**GREEDY, "num_predict": 200},
    }
    jsonschema.validate(
        json.loads(post(http, CHAT, **asked, format=schema)["message"]["content"]), schema
    )
    generated = post(http, GENERATE, prompt="Invent a person.", format=schema, options=GREEDY)
    jsonschema.validate(json.loads(generated["response"]), schema)
    begun = post(http, CHAT, **asked, format="json")["message"]["content"]
    assert begun.lstrip().startswith("{")


def test_probabilities(http: httpx.Client) -> None:
    asked: dict[str, Any] = {
        "messages": [said("hi")],
        "options": {"num_predict": 4},
        "logprobs": True,
    }
    found = [
        one
        for chunk in lines(http, CHAT, **asked, top_logprobs=2)
        for one in chunk.get("logprobs", [])
    ]
    assert len(found) == 4
    for one in found:
        assert one["logprob"] <= 0
        assert bytes(one["bytes"]).decode() == one["token"]
        assert len(one["top_logprobs"]) == 2
    whole = post(http, CHAT, **asked)
    assert len(whole["logprobs"]) == whole["eval_count"]
    assert whole["logprobs"][0]["top_logprobs"] == []


def test_thoughts_of_a_model_that_has_none(answering: httpx.Client) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        (CHAT, {"messages": [said("hi")]}),
        (GENERATE, {"prompt": "hi"}),
    ]
    for think in (True, "high"):
        for path, body in bodies:
            found = post(answering, path, 400, think=think, **body)
            assert found["error"] == '"forge-tiny" does not support thinking'
            assert found["param"] == "think"
    for allowed in (False, None, "", "none"):
        post(answering, CHAT, messages=[said("hi")], think=allowed)


def test_pictures(front: httpx.Client) -> None:
    picture = {**said("what is this?"), "images": ["iVBORw0KGgo="]}
    for path, body, field in (
        (CHAT, {"messages": [picture]}, "messages.0.images.0"),
        (GENERATE, {"prompt": "what is this?", "images": ["iVBORw0KGgo="]}, "images"),
    ):
        found = post(front, path, 400, **body)
        assert (found["code"], found["param"]) == ("image_not_supported", field)


# ------------------------------------------------------------------ prompts


def test_a_prompt_is_a_chat_of_one_message(exact_http: httpx.Client) -> None:
    chat = post(exact_http, CHAT, messages=[said("what is 2+2?")], options=GREEDY)
    answer = post(exact_http, GENERATE, prompt="what is 2+2?", options=GREEDY)
    assert answer["response"] == chat["message"]["content"]
    assert answer["prompt_eval_count"] == chat["prompt_eval_count"]
    with_system = [said("Be brief.", "system"), said("what is 2+2?")]
    chat = post(exact_http, CHAT, messages=with_system, options=GREEDY)
    answer = post(exact_http, GENERATE, prompt="what is 2+2?", system="Be brief.", options=GREEDY)
    assert answer["response"] == chat["message"]["content"]


def test_a_raw_prompt_has_no_template(exact_http: httpx.Client) -> None:
    options = {**ENDLESS, "num_predict": 20}
    raw = post(exact_http, GENERATE, prompt="Once upon a time", raw=True, options=options)
    completion: dict[str, Any] = {
        "prompt": "Once upon a time",
        "max_tokens": 20,
        "top_k": 40,
        "top_p": 0.9,
    }
    plain = exact_http.post("/v1/completions", json={**completion, **ENDLESS}).json()
    assert raw["response"] == plain["choices"][0]["text"]
    assert "context" not in raw


def test_a_context_is_gone_on_with(exact_http: httpx.Client) -> None:
    """The tokens of prompt and answer stand before the next prompt, which is computed alone."""
    first = post(exact_http, GENERATE, prompt="what is 2+2?", options=GREEDY)
    assert len(first["context"]) == first["prompt_eval_count"] + first["eval_count"]
    again = post(
        exact_http, GENERATE, prompt="what is 2+2?", context=first["context"], options=GREEDY
    )
    expected = len(first["context"]) + first["prompt_eval_count"]
    assert expected - 1 <= again["prompt_eval_count"] <= expected  # one beginning, not two
    assert again["context"][: len(first["context"])] == first["context"]
    last = list(lines(exact_http, GENERATE, prompt="hi", options={**GREEDY, "num_predict": 3}))[-1]
    assert len(last["context"]) == last["prompt_eval_count"] + 3


def test_a_context_that_is_none(front: httpx.Client) -> None:
    for context in ([10**6], [-1], ["a"], "abc"):
        found = post(front, GENERATE, 400, prompt="hi", context=context)
        assert found["param"].startswith("context")


def test_a_gap_needs_a_model_for_it(front: httpx.Client) -> None:
    found = post(front, GENERATE, 400, prompt="def f(", suffix="return 1")
    assert found == {
        "error": '"forge-tiny" does not support insert',
        "code": "invalid_request",
        "param": "suffix",
    }


# ------------------------------------------------------------------ loads


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {}),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": None}),  # as Go writes a list that was never made
        (GENERATE, {}),
        (GENERATE, {"prompt": ""}),
    ],
)
@pytest.mark.parametrize("stream", [True, False, None])
def test_an_empty_request_loads_or_unloads(
    answering: httpx.Client, path: str, body: dict[str, Any], stream: bool | None
) -> None:
    for keep_alive, reason in ((None, "load"), ("5m", "load"), (-1, "load"), (0, "unload")):
        found = post(answering, path, **body, stream=stream, keep_alive=keep_alive)
        assert (found["done"], found["done_reason"]) == (True, reason)
        assert found.keys() - {"message", "response"} == {
            "model", "created_at", "done", "done_reason"
        }  # fmt: skip


@pytest.mark.parametrize("path", [CHAT, GENERATE, EMBED, EMBEDDINGS])
@pytest.mark.parametrize(
    ("given", "headers", "param"),
    [
        ({"priority": "soon"}, {}, "priority"),
        ({"options": {"priority": "soon"}}, {}, "priority"),
        ({}, {"X-Priority": "soon"}, "X-Priority"),
        ({}, {"X-Request-Timeout": "soon"}, "X-Request-Timeout"),
    ],
)
def test_an_empty_request_has_no_wrong_priority_or_timeout(
    front: httpx.Client, path: str, given: dict[str, Any], headers: dict[str, str], param: str
) -> None:
    refused = front.post(path, json={"model": "forge-tiny", **given}, headers=headers)
    assert refused.status_code == 400, refused.text
    assert f"'{param}'" in refused.json()["error"]


@pytest.mark.parametrize("keep_alive", ["soon", [], True, "5x"])
def test_what_is_no_time(front: httpx.Client, keep_alive: Any) -> None:
    found = post(front, CHAT, 400, messages=[said("hi")], keep_alive=keep_alive)
    assert found["param"] == "keep_alive"
