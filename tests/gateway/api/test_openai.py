"""OpenAI's dialect: from body to job, and from events to bytes."""

from dataclasses import replace
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.openai import error_response
from gateway.api.openai.chat import ChatBody, ChatEnvelope
from gateway.api.openai.common import FINGERPRINT
from gateway.api.openai.completions import CompletionBody, CompletionEnvelope
from gateway.api.reply import Completion, llama_timings, pace
from gateway.core.clock import NANO
from gateway.core.errors import BadRequest, ForgeError, InternalError, Unavailable, UnknownParameter
from gateway.core.usage import Usage
from gateway.dispatch.ticket import Ticket
from gateway.http.response_headers import describe
from tests.support.memory_pool import job, only
from workers.protocol import Chat, Delta, Drafts, Finished, Started, Text

USER = {"role": "user", "content": "hi"}


def chat(**fields: Any) -> ChatBody:
    return ChatBody.model_validate({"messages": [USER], **fields})


def completion(**fields: Any) -> CompletionBody:
    return CompletionBody.model_validate({"prompt": "once", **fields})


def ticket() -> Ticket:
    made = Ticket(1, job(), 0)
    only(made).started = Started(1, 1, 7, 3)
    only(made).ids = [5, 6]
    return made


# ------------------------------------------------------------------ bodies


def test_messages_become_what_templates_read() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    given = chat(
        messages=[
            {"role": "developer", "content": "rules"},
            {"role": "user", "content": parts, "name": "ann"},
            {"role": "tool", "content": "4", "tool_call_id": "c1"},
        ]
    )
    assert given.prompts() == (
        Chat(
            [
                {"role": "system", "content": "rules"},
                {"role": "user", "content": "a\nb", "name": "ann"},
                {"role": "tool", "content": "4", "tool_call_id": "c1"},
            ]
        ),
    )
    assert completion().prompts() == (Text("once"),)
    assert completion(prompt=["a", "b"]).prompts() == (Text("a"), Text("b"))


def test_limits() -> None:
    assert chat().limit() is None
    assert chat(max_tokens=3).limit() == 3
    assert chat(max_completion_tokens=4).limit() == 4
    assert chat(max_tokens=3, max_completion_tokens=3).limit() == 3
    assert chat(max_tokens=-1).limit() is None
    assert chat(max_completion_tokens=-1).limit() is None
    assert chat(max_tokens=0).limit() == 0
    with pytest.raises(BadRequest) as caught:
        chat(max_tokens=3, max_completion_tokens=4).limit()
    assert caught.value.param == "max_tokens"
    assert completion().limit() == 16
    assert completion(max_tokens=5).limit() == 5
    assert completion(max_tokens=-1).limit() is None
    assert completion(max_tokens=0).limit() == 0


@pytest.mark.parametrize("stream", [True, False, None])
def test_stream_options_need_no_stream(stream: bool | None) -> None:
    """Many clients always write them; a whole answer has the counts anyway."""
    chat(stream=stream, stream_options={"include_usage": True}).check()
    chat(stream=stream, stream_options=None).check()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (None, False),
        ({}, False),
        ({"include_usage": False}, False),
        ({"include_usage": True}, True),
    ],
)
def test_wants_usage(options: dict[str, Any] | None, wanted: bool) -> None:
    assert chat(stream=True, stream_options=options).wants_usage is wanted


# ------------------------------------------------------------------ a stream's bytes


def frames(data: bytes) -> list[Any]:
    """The payloads of server-sent events, "[DONE]" as it is."""
    assert data == b"" or data.endswith(b"\n\n")
    texts = [frame for frame in data.split(b"\n\n") if frame]
    assert all(text.startswith(b"data: ") and b"\n" not in text for text in texts)
    bodies = [text.removeprefix(b"data: ") for text in texts]
    return ["[DONE]" if body == b"[DONE]" else orjson.loads(body) for body in bodies]


def test_chat_stream() -> None:
    made = ticket()
    envelope = ChatEnvelope(made, "forge-tiny", chat(stream=True))
    events: list[Started | Delta | Finished] = [
        Started(1, 1, 7, 3),
        Delta(1, 1, [5], 'line\n"quoted" ü'),
        Delta(1, 1, [9], ""),
        Finished(1, 1, "stop", [6], "end"),
    ]
    got = [frames(envelope.event(event)) for event in events]
    assert got[2] == [], "a token that released no text needs no chunk"
    chunks = [chunk for group in got for chunk in group if chunk != "[DONE]"]
    for chunk in chunks:
        assert chunk["id"] == f"chatcmpl-{made.request_id}"
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["created"] == 1_500_000_000
        assert chunk["model"] == "forge-tiny"
        assert chunk["system_fingerprint"] == FINGERPRINT
        assert "usage" not in chunk
        assert "service_tier" not in chunk
        assert chunk["choices"][0]["index"] == 0
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant"}
    assert deltas[1:] == [{"content": 'line\n"quoted" ü'}, {"content": "end"}, {}]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, None, "stop"]
    assert got[-1][-1] == "[DONE]"


def test_usage_chunk_comes_last_and_alone() -> None:
    envelope = ChatEnvelope(
        ticket(), "m", chat(stream=True, stream_options={"include_usage": True})
    )
    text, last, usage, done = frames(envelope.event(Finished(1, 1, "length", [6], "x")))
    assert done == "[DONE]"
    assert text["usage"] is None
    assert last["usage"] is None
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3},
    }


@pytest.mark.parametrize("usage", [None, "include_usage", "continuous_usage_stats"])
@pytest.mark.parametrize("n", [1, 2])
def test_timings_come_in_the_last_chunk(usage: str | None, n: int) -> None:
    """Only the usage has a chunk without choices, and only where it is asked for."""
    options = {} if usage is None else {"stream_options": {usage: True}}
    made = Ticket(1, job(n=n), 0)
    envelope = ChatEnvelope(made, "m", chat(stream=True, n=n, timings=True, **options))
    chunks = [
        chunk
        for index in range(n)
        for chunk in frames(envelope.event(Finished(1 + index, 1, "stop", [6], "x")))
    ]
    *chunks, last, done = chunks
    assert done == "[DONE]"
    assert last["timings"] == llama_timings(made)
    assert all("timings" not in chunk for chunk in chunks)
    alone = [chunk for chunk in [*chunks, last] if not chunk["choices"]]
    assert alone == ([last] if usage == "include_usage" else [])
    assert ("usage" in last) is (usage is not None)


def test_completion_stream() -> None:
    envelope = CompletionEnvelope(ticket(), "m", completion(stream=True))
    assert envelope.event(Started(1, 1, 7, 3)) == b"", "this dialect has no first chunk"
    (chunk,) = frames(envelope.event(Delta(1, 1, [5], "a")))
    assert chunk["object"] == "text_completion"
    assert chunk["id"].startswith("cmpl-")
    assert chunk["choices"] == [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}]
    last, done = frames(envelope.event(Finished(1, 1, "stop", [], "")))
    assert last["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]
    assert done == "[DONE]"


@given(
    texts=st.lists(st.text(min_size=1), min_size=1, max_size=4),
    model=st.sampled_from(["m", "\0", 'a"b', "é"]),
    index=st.integers(0, 1),
    logprobs=st.booleans(),
    usage=st.booleans(),
)
def test_chunks_of_text_say_what_the_types_say(
    texts: list[str], model: str, index: int, logprobs: bool, usage: bool
) -> None:
    """All but the text is written once for each choice."""
    common: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": usage}}
    made = Ticket(1, job(n=2), 0)
    envelopes: list[ChatEnvelope | CompletionEnvelope] = [
        ChatEnvelope(made, model, chat(logprobs=logprobs, **common)),
        CompletionEnvelope(made, model, completion(logprobs=2 if logprobs else None, **common)),
    ]
    for envelope in envelopes:
        for text in texts:
            data = envelope.event(Delta(1 + index, 1, [9], text))
            assert data.startswith(b"data: ")
            assert data.endswith(b"}\n\n")
            chunk = orjson.loads(data.removeprefix(b"data: "))
            assert chunk.pop("choices") == [envelope._piece(index, text, None)]
            assert chunk.pop("usage", None) is None
            wanted = {**envelope._fields, "object": envelope.chunk_kind}
            assert chunk == wanted


@pytest.mark.parametrize(
    ("tier", "told"),
    [("auto", "default"), ("default", "default"), ("flex", "flex"), ("priority", "priority")],
)
def test_service_tier_is_echoed(tier: str, told: str) -> None:
    envelope = ChatEnvelope(ticket(), "m", chat(stream=True, service_tier=tier))
    (chunk,) = frames(envelope.event(Delta(1, 1, [5], "a")))
    assert chunk["service_tier"] == told
    whole = envelope.whole([Completion("a", "stop")])
    assert whole["service_tier"] == told


def test_error_in_a_stream() -> None:
    data = ChatEnvelope(ticket(), "m", chat()).error(InternalError("broken\nhere"))
    event, payload, *rest = data.split(b"\n")
    assert (event, rest) == (b"event: error", [b"", b""])
    error = orjson.loads(payload.removeprefix(b"data: "))["error"]
    assert error == {
        "message": "broken\nhere",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }


# ------------------------------------------------------------------ whole answers


def test_whole_answers() -> None:
    answer = [Completion("text", "length")]
    whole = ChatEnvelope(ticket(), "m", chat()).whole(answer)
    assert whole["object"] == "chat.completion"
    assert whole["choices"] == [
        {
            "index": 0,
            "logprobs": None,
            "finish_reason": "length",
            "message": {"role": "assistant", "content": "text", "refusal": None},
        }
    ]
    assert whole["usage"]["total_tokens"] == 9
    whole = CompletionEnvelope(ticket(), "m", completion()).whole(answer)
    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["text"] == "text"


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [(UnknownParameter("m", param="x"), 400, None), (Unavailable("m", retry_after=5), 503, "5")],
)
def test_error_response(error: ForgeError, status: int, retry: str | None) -> None:
    response = error_response(error)
    assert response.status_code == status
    assert response.headers.get("retry-after") == retry
    assert response.media_type == "application/json"
    assert orjson.loads(response.body)["error"] == {
        "message": "m",
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }


def test_headers_and_timings() -> None:
    made = ticket()
    assert describe(made, NANO // 2) == {
        "X-Request-Id": made.request_id,
        "X-Priority": "1",
        "X-Seed": "1",
        "X-Queue-Wait": "0.500000",
    }
    assert set(pace(made).values()) == {None}
    made.arrived_ns, made.dispatched_ns = NANO, NANO + 1_500_000
    made.first_token_ns, made.ended_ns = 2 * NANO, 4 * NANO
    only(made).ids, only(made).first_ids = [1, 2, 3, 4, 5], 1
    assert pace(made) == {
        "queue_ms": 1.5,
        "ttft_ms": 1000.0,
        "total_ms": 3000.0,
        "tokens_per_second": 2.0,
    }
    assert describe(made, 9 * NANO)["X-Queue-Wait"] == "0.001500"
    only(made).ids = [1]  # one token has no rate
    assert pace(made)["tokens_per_second"] is None
    assert Ticket(2, job(), 0).usage == Usage(0, 0, 0), "ended before it took a slot"


@pytest.mark.parametrize(
    ("ids", "first_ids", "rate"),
    [
        ([[1]], [1], 0.0),
        ([[1, 2, 3]], [3], 0.0),  # a grammar left no choice after the first
        ([[1, 2, 3]], [1], 4.0),
        ([[1], [1]], [1, 1], 0.0),
        ([[1, 2, 3], [1, 2]], [1, 1], 6.0),
        ([[1, 2], []], [1, 0], 2.0),
    ],
)
def test_the_first_tokens_are_no_measure_of_speed(
    ids: list[list[int]], first_ids: list[int], rate: float
) -> None:
    """They come with the prompt, some microseconds before the end of an answer of one."""
    made = Ticket(1, job(n=len(ids)), 0)
    made.dispatched_ns, made.first_token_ns, made.ended_ns = 0, NANO, NANO + NANO // 2
    for sequence, sampled, first in zip(made.sequences, ids, first_ids, strict=True):
        sequence.ids, sequence.first_ids = sampled, first
    found = llama_timings(made)
    assert found["predicted_n"] == sum(map(len, ids))
    assert found["predicted_ms"] == 500.0
    assert found["predicted_per_second"] == rate
    assert found["predicted_per_token_ms"] == (1000 / rate if rate else 0.0)
    assert pace(made)["tokens_per_second"] == (rate or None)


def test_drafts_are_counted() -> None:
    made = Ticket(1, job(), 0)
    sequence = only(made)
    for drafts in (Drafts(15, 9, predicted=True), Drafts(7, 2)):
        sequence.count_drafts(drafts)
    assert "completion_tokens_details" not in made.usage.openai(), "it has no prediction"
    assert llama_timings(made)["draft_n"] == 22
    assert llama_timings(made)["draft_n_accepted"] == 11
    made.job = replace(made.job, params=msgspec.structs.replace(made.job.params, prediction="x"))
    assert made.usage.openai()["completion_tokens_details"] == {
        "accepted_prediction_tokens": 9,
        "rejected_prediction_tokens": 6,
    }
    assert "draft_n" not in llama_timings(Ticket(2, job(), 0))


def test_drafts_of_all_choices_are_counted_together() -> None:
    wanted = job(n=3)
    predicting = msgspec.structs.replace(wanted.params, prediction="x")
    made = Ticket(1, replace(wanted, params=predicting), 0)
    for sequence in made.sequences[:2]:
        sequence.count_drafts(Drafts(5, 4, predicted=True))
    assert made.usage.drafts == made.usage.predicted == (2, 10, 8)
