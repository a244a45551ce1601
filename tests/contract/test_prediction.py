"""OpenAI's `prediction`: the same answer, faster, and what it was worth is counted."""

from typing import Any

import httpx
import pytest

QUESTION = [{"role": "user", "content": "Write a list of ten animals."}]
PATH = "/v1/chat/completions"


def ask(client: httpx.Client, prediction: Any, **fields: Any) -> Any:
    body = {
        "messages": QUESTION,
        "prediction": prediction,
        "max_tokens": 40,
        "temperature": 0,
        "timings": True,
        **fields,
    }
    answer = client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    assert "X-Ignored-Parameters" not in answer.headers
    return answer.json()


def content(value: Any) -> dict[str, Any]:
    return {"type": "content", "content": value}


def test_it_is_counted_and_changes_nothing(http: httpx.Client) -> None:
    plain = ask(http, None)
    assert "completion_tokens_details" not in plain["usage"]
    text = plain["choices"][0]["message"]["content"]
    parts = [{"type": "text", "text": text[:20]}, {"type": "text", "text": text[20:]}]
    for value in (text, parts, "Something else altogether.", "", None):
        found = ask(http, content(value))
        assert found["choices"] == plain["choices"]
        usage = found["usage"]
        assert usage["completion_tokens"] == plain["usage"]["completion_tokens"]
        if not value:
            assert "completion_tokens_details" not in usage
            continue
        details = usage["completion_tokens_details"]
        accepted = details["accepted_prediction_tokens"]
        assert 0 <= accepted < usage["completion_tokens"]
        assert details["rejected_prediction_tokens"] >= 0
        assert accepted <= found["timings"].get("draft_n_accepted", 0)
        assert found["timings"].get("draft_n_accepted", 0) <= found["timings"].get("draft_n", 0)


def test_a_stream_tells_the_counts_too(http: httpx.Client) -> None:
    body = {
        "messages": QUESTION,
        "prediction": content("1. cat"),
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = http.post(PATH, json=body)
    assert answer.status_code == 200
    assert '"completion_tokens_details":{"accepted_prediction_tokens":' in answer.text


@pytest.mark.parametrize(
    ("prediction", "param"),
    [
        ("text", "prediction"),
        ([], "prediction"),
        (content(5), "prediction.content"),
        ({"type": "other", "content": "x"}, "prediction.type"),
        (content([{"type": "image_url", "image_url": {"url": "x"}}]), "prediction.content.0.type"),
        (content([5]), "prediction.content.0"),
    ],
    ids=str,
)
def test_what_is_no_text_is_refused(front: httpx.Client, prediction: Any, param: str) -> None:
    answer = front.post(PATH, json={"messages": QUESTION, "prediction": prediction})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_field_that_it_does_not_have_is_named(answering: httpx.Client) -> None:
    body = {"messages": QUESTION, "prediction": {**content("x"), "extra": 1}, "max_tokens": 1}
    answer = answering.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Ignored-Parameters"] == "prediction.extra"
