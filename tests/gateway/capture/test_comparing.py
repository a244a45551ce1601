"""Two answers: the same or not, and the reasons that are told."""

import json
from typing import Any

import pytest

from gateway.capture.comparing import ComparedAnswer, compared, seeded

JSON = "application/json"
CHAT = "/v1/chat/completions"


def answer(text: str, seed: int | None = 1, status: int = 200, **more: Any) -> ComparedAnswer:
    body = {"id": text * 2, "created": 5, "choices": [{"message": {"content": text}}]}
    return ComparedAnswer(status, JSON, json.dumps(body).encode(), seed, **more)


def reasons(
    request: dict[str, Any], before: ComparedAnswer, now: ComparedAnswer, path: str = CHAT
) -> str:
    found = compared(path, json.dumps(request).encode(), before, now)
    assert not found.equal
    return "; ".join(found.reasons)


def test_names_and_times_and_seeds_do_not_count() -> None:
    body = json.dumps({"choices": [{"message": {"content": "a"}}], "created": 9}).encode()
    assert compared(CHAT, b"{}", answer("a"), ComparedAnswer(200, JSON, body, 7)).equal


def test_a_stream_may_say_what_a_whole_answer_says() -> None:
    stream = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'
    before = ComparedAnswer(200, "text/event-stream", stream)
    now = ComparedAnswer(
        200, "text/event-stream", stream.replace(b"\n\ndata: [DONE]", b"\n\n: x\n")
    )
    assert compared(CHAT, b"{}", before, now).equal


@pytest.mark.parametrize(
    ("path", "request_"),
    [(CHAT, {"seed": None}), (CHAT, {"temperature": 0.5, "seed": -1}), ("/api/chat", {"seed": 1})],
)
def test_a_sampled_request_without_a_seed_is_told(path: str, request_: dict[str, Any]) -> None:
    said = reasons(request_, answer("a", 1), answer("b", 2), path)
    assert "names no seed" in said
    assert "drawn with seed 1, and now with 2" in said


@pytest.mark.parametrize(
    ("path", "request_"), [(CHAT, {"seed": 1}), ("/api/chat", {"options": {"temperature": 0}})]
)
def test_a_fixed_request_has_other_reasons(path: str, request_: dict[str, Any]) -> None:
    said = reasons(request_, answer("a", 1), answer("b", 1), path)
    assert "names no seed" not in said
    assert "the same request, model and seed" in said


def test_further_reasons() -> None:
    assert reasons({}, answer("a"), answer("a", status=500)) == "the status was 200, and is 500"
    assert "it broke off" in reasons({"seed": 1}, answer("ab"), answer("abc"))
    before, now = answer("a", model="m"), answer("b", model="n")
    assert "the model was 'm', and is 'n'" in reasons({"seed": 1}, before, now)
    vectors = [
        ComparedAnswer(200, JSON, json.dumps({"data": [{"embedding": [0.5, each]}]}).encode())
        for each in (0.25, 0.5)
    ]
    assert reasons({}, vectors[0], vectors[1]) == "the numbers differ by 0.25 at most"
    assert compared("/v1/embeddings", b"{}", vectors[0], vectors[0]).equal


def test_a_seed_stands_where_the_dialect_has_one() -> None:
    assert json.loads(seeded(CHAT, b'{"a": 1, "seed": 3}', 7)) == {"a": 1, "seed": 7}
    options = b'{"options": {"top_k": 1}}'
    assert json.loads(seeded("/api/chat", options, 7)) == {"options": {"top_k": 1, "seed": 7}}
    assert json.loads(seeded("/api/chat", b"{}", 7)) == {"options": {"seed": 7}}
