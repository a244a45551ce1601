"""A prompt that does not fit: in the words that clients look for, with the numbers beside."""

import re
from typing import Any

import httpx
import pytest

from tests.support.dialects import INFER, OPENAI, RESPONSES, Dialect

WORDS = r"This model's maximum context length is (\d+) tokens\. However, your {} resulted in (\d+)"
LONGEST = 300_000
"""Number of words whose bytes alone show that they can't fit."""


def numbers(message: str, what: str) -> tuple[int, int]:
    found = re.search(WORDS.format(what), message)
    assert found is not None, message
    return int(found[1]), int(found[2])


def overflow(answer: httpx.Response) -> dict[str, Any]:
    """Return what is told of the error, in either shape."""
    assert answer.status_code == 400, answer.text
    body = answer.json()
    detail = body["error"]
    found: dict[str, Any] = {**body, "message": detail} if isinstance(detail, str) else detail
    # llama-server's own shape has the status under "code".
    assert found.get("reason", found["code"]) == "context_length_exceeded"
    return found


@pytest.mark.parametrize("words", [1000, LONGEST])
def test_generation(http: httpx.Client, dialect: Dialect, words: int) -> None:
    """Counted by the worker, or by the bytes where these are enough."""
    answer = http.post(dialect.path, json=dialect.body("7 + 7. " * words, max_tokens=1))
    found = overflow(answer)
    # Claude Code, litellm, crewai and pydantic-ai shorten the conversation when they read these.
    told = re.search(dialect.overflow, found["message"])
    assert told is not None, found["message"]
    limit, tokens = int(told["limit"]), int(told["tokens"])
    assert limit == found.get("n_ctx", 2048)
    assert tokens == found.get("n_prompt_tokens", tokens) > limit
    if "at least" not in found["message"] and words < LONGEST:
        assert tokens > words


@pytest.mark.parametrize("dialect", [INFER, *OPENAI, RESPONSES], ids=str)
def test_the_code_is_in_the_words(http: httpx.Client, dialect: Dialect) -> None:
    """LangChain looks for it there; the bytes alone may show a lower bound only."""
    for words in (1000, LONGEST):
        answer = http.post(dialect.path, json=dialect.body("7 + 7. " * words, max_tokens=1))
        message = overflow(answer)["message"]
        assert "context_length_exceeded" in message
        assert ("resulted in at least" in message) == (words == LONGEST)


@pytest.mark.parametrize("words", [1000, LONGEST])
def test_one_of_several_inputs(http: httpx.Client, words: int) -> None:
    inputs = ["short", "7 + 7. " * words, "short, too"]
    found = overflow(http.post("/v1/embeddings", json={"input": inputs}))
    assert found["param"] == "input.1"
    assert found["message"].startswith("'input.1': ")
    limit, tokens = numbers(found["message"].replace("at least ", ""), "input")
    assert (limit, tokens) == (found["n_ctx"], found["n_prompt_tokens"])


def test_the_only_input(http: httpx.Client) -> None:
    found = overflow(http.post("/v1/embeddings", json={"input": ["7 + 7. " * 3000]}))
    assert found["param"] == "input"


def test_an_input_that_holds_no_token_or_wrong_ones(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"input": [[1], [2, 10**6]]})
    assert answer.json()["error"]["param"] == "input.1"
    answer = http.post("/v1/completions", json={"prompt": [[1], [2, 10**6]], "n": 2})
    assert answer.json()["error"]["param"] == "prompt.1"


def test_other_errors_have_no_numbers(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"input": 5})
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
