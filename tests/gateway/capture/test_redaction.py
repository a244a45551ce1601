"""Redaction: what a pattern matches is nowhere in what is kept, however it was written or sent."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture.redaction import (
    MARK,
    MOST_MATCHES,
    SPELT,
    BadPattern,
    Redactor,
    compiled,
    unescaped,
)

JSON, EVENTS, LINES = "application/json", "text/event-stream; charset=utf-8", "application/x-ndjson"
SECRET = "sk-0123456789abcdef"
KEYS = Redactor([r"sk-[0-9a-f]{16}", r"\b4[0-9]{15}\b"])


def events(chunks: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)


def chunk(text: str, index: int = 0) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": index, "delta": {"content": text}}]}


def told(body: bytes, index: int = 0) -> str:
    """Return the text of a stream of chunks."""
    chunks = [json.loads(each[6:]) for each in body.split(b"\n\n") if each.startswith(b"data: {")]
    choices = [choice for each in chunks for choice in each["choices"]]
    return "".join(each["delta"]["content"] for each in choices if each["index"] == index)


@given(st.data(), st.text(max_size=20), st.text(max_size=20))
def test_a_secret_in_any_pieces_of_a_stream_is_found(
    data: st.DataObject, before: str, after: str
) -> None:
    whole = before + SECRET + after
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    ends = [0, *cuts, len(whole)]
    parts = [whole[begin:end] for begin, end in pairwise(ends)]
    found = KEYS.body(events([chunk(part) for part in parts]) + b"data: [DONE]\n\n", EVENTS)
    assert told(found) == KEYS.text(whole)
    assert MARK in told(found)
    assert found.endswith(b"data: [DONE]\n\n")


def test_pieces_of_several_choices_are_told_apart() -> None:
    parts = [SECRET[at : at + 3] for at in range(0, len(SECRET), 3)]
    mixed = [chunk(part, index) for part in parts for index in (0, 1)]
    found = KEYS.body(events(mixed), EVENTS)
    assert (told(found, 0), told(found, 1)) == (MARK, MARK)


def test_lines_of_json_are_a_stream_too() -> None:
    lines = [{"message": {"content": part}} for part in (SECRET[:5], SECRET[5:9], SECRET[9:])]
    body = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
    found = [json.loads(line) for line in KEYS.body(body, LINES).splitlines()]
    assert [each["message"]["content"] for each in found] == [MARK, "", ""]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": f"my key is {SECRET}."}]},
        {"metadata": {SECRET: "a", "b": [{SECRET: [SECRET]}]}},
        {"card": 4111111111111111, "nested": [{"card": 4111111111111111.0}]},
        {"content": [{"logprob_token": SECRET[:4]}, {"token": SECRET}]},
        [SECRET],
        SECRET,
    ],
)
def test_it_is_found_wherever_it_stands(body: Any) -> None:
    found = KEYS.body(json.dumps(body).encode(), JSON)
    assert SECRET[:8].encode() not in found
    assert b"41111111" not in found
    json.loads(found)


def test_escapes_hide_nothing() -> None:
    hidden = "".join(f"\\u{ord(each):04x}" for each in SECRET)
    assert SECRET not in hidden
    whole = KEYS.body(f'{{"a": "{hidden}"}}'.encode(), JSON)
    assert json.loads(whole) == {"a": MARK}
    broken = KEYS.body(f'{{"a": "{hidden}"'.encode(), JSON)
    assert broken == f'{{"a": "{MARK}"'.encode()


@given(st.text())
def test_escapes_are_undone_as_json_does(text: str) -> None:
    assert unescaped(json.dumps(text)[1:-1]) == text


def test_tokens_and_their_probabilities_are_not_kept() -> None:
    """They spell the text, in pieces and numbers that no pattern can know."""
    ids, tokens = [115, 107, 45], [{"token": each, "bytes": [ord(each)] * 2} for each in SECRET]
    body = {
        "prompt": ids,
        "choices": [{"index": 0, "text": "fine", "logprobs": {"content": tokens}}],
        "completion_probabilities": tokens,
        "logprobs": None,
        "top_logprobs": 5,
        "tokens": [115],
        "context": ids,
        "embedding": [0.5, 0.25],
    }
    assert json.loads(KEYS.body(json.dumps(body).encode(), JSON)) == {
        "prompt": SPELT,
        "choices": [{"index": 0, "text": "fine", "logprobs": SPELT}],
        "completion_probabilities": SPELT,
        "logprobs": None,
        "top_logprobs": 5,
        "tokens": SPELT,
        "context": SPELT,
        "embedding": [0.5, 0.25],
    }


@pytest.mark.parametrize("name", ["signature", "encrypted_content"])
def test_thoughts_in_base64_are_not_kept(name: str) -> None:
    found = KEYS.body(json.dumps({"content": [{name: "Zm9yZ2UgdGhvdWdodA=="}]}).encode(), JSON)
    assert json.loads(found) == {"content": [{name: SPELT}]}


def test_a_pattern_may_have_jsons_own_signs_in_it() -> None:
    found = Redactor([r'"password"\s*:\s*"[^"]*"']).body(b'{"password" : "hunter2", "a": 1}', JSON)
    assert found == b'{[redacted], "a": 1}'


@given(st.binary(max_size=200))
def test_any_bytes_are_taken(body: bytes) -> None:
    for kind in (JSON, EVENTS, LINES, ""):
        KEYS.body(body, kind)


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(0, 9), st.lists))
def test_a_body_without_a_match_is_the_same_bytes(value: Any) -> None:
    body = json.dumps({"a": value}, indent=1).encode()
    if not any(isinstance(each, list) and each for each in walked(value)):
        assert KEYS.body(body, JSON) == body
    assert Redactor([]).body(body, JSON) is body


def walked(value: Any) -> list[Any]:
    return (
        [value, *(deep for each in value for deep in walked(each))]
        if isinstance(value, list)
        else [value]
    )


def test_what_is_nested_too_deeply_to_be_written_is_not_kept() -> None:
    body = b"[" * 800 + json.dumps(SECRET).encode() + b"]" * 800
    assert KEYS.body(body, JSON) == SPELT.encode()
    assert SECRET.encode() not in KEYS.body(b"[" * 5000 + SECRET.encode(), JSON)


@pytest.mark.parametrize(
    "pattern", ["(a", "(?=a)", r"(a)\1", "a{2000}", "", "a*", "(?:)", "x" * 1001, "(" * 500]
)
def test_a_pattern_that_cant_be_used_is_an_error(pattern: str) -> None:
    with pytest.raises(BadPattern, match=r"^[^\n]+$"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)+b", "(.*a){20}b", "(?s)a.*b|a"])
def test_no_pattern_takes_long(pattern: str) -> None:
    """Python's own engine needs years for these: the suite's time limit would end it."""
    found = Redactor([pattern]).body(json.dumps({"text": "a" * 100_000}).encode(), JSON)
    assert json.loads(found)["text"] in (MARK, "a" * 100_000)


def test_what_was_taken_out_is_not_looked_at_again() -> None:
    redactor = Redactor(["secret", "red", "a", "not kept", r'"b":".*?"'])
    body = json.dumps({"x": "my secret is red", "logprobs": [{"b": 1}], "b": "c"}).encode()
    found = redactor.body(body, JSON)
    assert (
        found == b'{"x":"my [redacted] is [redacted]","logprobs":"%s",[redacted]}' % SPELT.encode()
    )


def test_a_text_with_too_many_matches_goes_whole() -> None:
    redactor = Redactor(["a"])
    assert redactor.text("ab" * MOST_MATCHES) == f"{MARK}b" * MOST_MATCHES
    assert redactor.text("ab" * (MOST_MATCHES + 1)) == MARK
