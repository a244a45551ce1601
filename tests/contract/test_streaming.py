"""Streams: the same content as whole answers, in exactly the format clients parse."""

import json
from typing import Any

import httpx
import pytest

from tests.support.dialects import CHAT, COMPLETIONS, Dialect

LONG: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 50}
STORY = "tell me a story about a fox"


def raw(client: httpx.Client, dialect: Dialect, **params: Any) -> httpx.Response:
    response = client.post(dialect.path, json=dialect.body(STORY, stream=True, **params))
    assert response.status_code == 200, response.text
    return response


def test_same_text_as_whole(exact_http: httpx.Client, streamed: Dialect) -> None:
    for params in (LONG, {**LONG, "temperature": 1, "seed": 5}):
        whole = streamed.ask(exact_http, STORY, **params)
        assert streamed.joined(streamed.stream(exact_http, STORY, **params)) == whole.text


def test_odd_bytes_are_never_torn(exact_http: httpx.Client, streamed: Dialect) -> None:
    """At this temperature the model emits single bytes of characters all the time."""
    wide = {"top_k": 0, "top_p": 1, "min_p": 0}  # dialects have defaults of their own
    odd: dict[str, Any] = {"temperature": 100, **wide, "ignore_eos": True, "max_tokens": 100}
    seen = ""
    for seed in range(2):
        content = raw(exact_http, streamed, seed=seed, **odd).content
        text = content.decode("utf-8")  # strict: a torn character would fail here
        chunks = streamed.chunks(text.split("\n"))
        whole = streamed.ask(exact_http, STORY, seed=seed, **odd)
        assert streamed.joined(chunks) == whole.text
        assert whole.usage["completion_tokens"] == 100
        seen += whole.text
    assert not seen.isascii()


def test_format(http: httpx.Client, streaming: Dialect) -> None:
    response = raw(http, streaming, **LONG)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert "content-length" not in response.headers
    *events, done, end = response.content.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    for event in events:
        assert event.startswith(b"data: {")
        assert b"\n" not in event
        json.loads(event.removeprefix(b"data: "))


def test_ends(answering: httpx.Client, streaming: Dialect) -> None:
    chunks = streaming.stream(answering, STORY, **LONG)
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert streaming.piece(chunks[-1]) == ""
    assert all(chunk.keys().isdisjoint({"usage"}) for chunk in chunks)


def test_constant_fields(answering: httpx.Client, streaming: Dialect) -> None:
    chunks = streaming.stream(answering, STORY, model="forge-tiny", **LONG)
    for field in ("id", "object", "created", "model", "system_fingerprint"):
        assert len({chunk[field] for chunk in chunks}) == 1
    first = chunks[0]
    assert first["model"] == "forge-tiny"
    assert first["object"] == ("chat.completion.chunk" if streaming is CHAT else "text_completion")


def test_chat_begins_with_the_role(answering: httpx.Client) -> None:
    first, *others, last = CHAT.stream(answering, STORY, **LONG)
    assert first["choices"][0]["delta"] == {"role": "assistant"}
    assert all(chunk["choices"][0]["delta"].keys() == {"content"} for chunk in others)
    assert last["choices"][0]["delta"] == {}


def test_completions_have_no_role(answering: httpx.Client) -> None:
    for chunk in COMPLETIONS.stream(answering, STORY, **LONG):
        assert chunk["choices"][0].keys() == {"index", "text", "logprobs", "finish_reason"}


def test_usage_on_request(answering: httpx.Client, streaming: Dialect) -> None:
    options = {"include_usage": True}
    *chunks, last = streaming.stream(answering, STORY, stream_options=options, **LONG)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 50
    assert last["usage"].keys() == streaming.ask(answering, STORY, **LONG).usage.keys()
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)


@pytest.mark.parametrize("options", [{}, {"include_usage": False}, {"include_usage": None}])
def test_no_usage_unasked(
    answering: httpx.Client, streaming: Dialect, options: dict[str, Any]
) -> None:
    for chunk in streaming.stream(answering, STORY, stream_options=options, **LONG):
        assert "usage" not in chunk
        assert chunk["choices"]


def test_stop_strings_never_show(exact_http: httpx.Client, streamed: Dialect) -> None:
    text = streamed.ask(exact_http, STORY, **LONG).text
    stop = text[30:36]
    chunks = streamed.stream(exact_http, STORY, stop=stop, **LONG)
    assert streamed.joined(chunks) == text[: text.index(stop)]


def test_one_token(http: httpx.Client, streaming: Dialect) -> None:
    chunks = streaming.stream(http, STORY, **{**LONG, "max_tokens": 1})
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_connections_are_reused(http: httpx.Client, streamed: Dialect) -> None:
    """After [DONE] the same connection serves the next request."""
    body = streamed.body(STORY, stream=True, **LONG)
    with httpx.Client(base_url=http.base_url, timeout=60) as client:
        peers = set()
        for _ in range(3):
            with client.stream("POST", streamed.path, json=body) as response:
                response.read()
                peers.add(response.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(peers) == 1
