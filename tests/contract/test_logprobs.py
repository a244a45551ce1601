"""Logprobs and echo in OpenAI's API: what is told fits the text, streamed or whole."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.contract.test_openai_client import QUESTION, extras
from tests.support.dialects import CHAT, COMPLETIONS, Dialect
from tests.support.server import ALIAS, ForgeServer

PROMPT = "Once upon a time there was"
CLOSE = 0.05
"""F16 results depend a little on the shape of the batch."""


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def told(content: list[Any]) -> bytes:
    return b"".join(bytes(one.bytes) for one in content)


def ask(http: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    response = http.post(COMPLETIONS.path, json={"prompt": PROMPT, "temperature": 0, **params})
    assert response.status_code == 200, response.text
    choices: list[dict[str, Any]] = response.json()["choices"]
    return choices


def check(choice: dict[str, Any], top: int) -> dict[str, Any]:
    """The four lists of a text completion belong together, and to the text."""
    found: dict[str, Any] = choice["logprobs"]
    assert len({len(values) for values in found.values()}) == 1
    assert "".join(found["tokens"]) == choice["text"]
    rows = zip(*(found[name] for name in ("tokens", "token_logprobs", "top_logprobs")), strict=True)
    for (token, logprob, best), offset in zip(rows, found["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)
        if logprob is None:
            assert (offset, best) == (0, None)
        else:
            assert best[token] == logprob <= 0
            assert top <= len(best) <= top + 1
    return found


# ------------------------------------------------------------------ chat


@pytest.mark.parametrize("top", [None, 0, 5])
def test_chat(client: openai.OpenAI, top: int | None) -> None:
    more: dict[str, Any] = {} if top is None else {"top_logprobs": top}
    answer = client.chat.completions.create(
        model=ALIAS, messages=QUESTION, temperature=0, logprobs=True, **more
    )
    assert list(extras(answer)) == []
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    content = choice.logprobs.content
    assert content
    assert told(content).decode() == choice.message.content
    assert "".join(one.token for one in content) == choice.message.content
    assert answer.usage is not None
    assert len(content) == answer.usage.completion_tokens - 1, "all but the end of the turn"
    for one in content:
        assert one.logprob <= 0
        assert len(one.top_logprobs) == (top or 0)
        if top:
            assert one.top_logprobs[0].token == one.token, "greedy"
            chances = [best.logprob for best in one.top_logprobs]
            assert chances == sorted(chances, reverse=True)


def test_a_streamed_chat(client: openai.OpenAI) -> None:
    params: dict[str, Any] = {"temperature": 0, "logprobs": True, "top_logprobs": 2, "n": 2}
    whole = client.chat.completions.create(model=ALIAS, messages=QUESTION, **params)
    text, found = ["", ""], [[], []]  # type: tuple[list[str], list[list[Any]]]
    with client.chat.completions.create(
        model=ALIAS, messages=QUESTION, stream=True, **params
    ) as stream:
        for chunk in stream:
            assert list(extras(chunk)) == []
            for choice in chunk.choices:
                text[choice.index] += choice.delta.content or ""
                if choice.logprobs is not None:
                    found[choice.index] += choice.logprobs.content or []
    for index, choice in enumerate(whole.choices):
        assert choice.logprobs is not None
        assert text[index] == choice.message.content == told(found[index]).decode()
        expected = choice.logprobs.content or []
        assert [one.token for one in found[index]] == [one.token for one in expected]
        for one, other in zip(found[index], expected, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=CLOSE)
            assert len(one.top_logprobs) == 2


def test_unasked(answering: httpx.Client) -> None:
    answer = CHAT.ask(answering, max_tokens=2, logprobs=False)
    assert answer.body["choices"][0]["logprobs"] is None
    assert ask(answering, max_tokens=2)[0]["logprobs"] is None


# ------------------------------------------------------------------ text completions


def test_completions(client: openai.OpenAI, http: httpx.Client) -> None:
    answer = client.completions.create(
        model=ALIAS, prompt=PROMPT, temperature=0, logprobs=3, max_tokens=8
    )
    assert list(extras(answer)) == []
    (choice,) = ask(http, logprobs=3, max_tokens=8)
    found = check(choice, 3)
    assert len(found["tokens"]) == 8
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.text_offset == found["text_offset"]


@pytest.mark.parametrize("echo", [False, True])
def test_streamed_completions(http: httpx.Client, echo: bool) -> None:
    params: dict[str, Any] = {"temperature": 0, "logprobs": 1, "max_tokens": 6, "echo": echo}
    (whole,) = ask(http, **params)
    expected = check(whole, 1)
    streamed: dict[str, Any] = {
        "text": "",
        "logprobs": {name: [] for name in expected},
    }
    for chunk in COMPLETIONS.stream(http, PROMPT, **params):
        (choice,) = chunk["choices"]
        streamed["text"] += choice["text"]
        for name, values in (choice["logprobs"] or {}).items():
            streamed["logprobs"][name] += values
    found = check(streamed, 1)
    assert found["tokens"] == expected["tokens"]
    assert found["text_offset"] == expected["text_offset"]


# ------------------------------------------------------------------ echo


def test_echo(http: httpx.Client) -> None:
    (plain,) = ask(http, max_tokens=5)
    (choice,) = ask(http, max_tokens=5, echo=True)
    assert choice["text"] == PROMPT + plain["text"]
    assert choice["logprobs"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_judged(http: httpx.Client, stream: bool) -> None:
    """As evaluation harnesses ask: nothing sampled, all of the prompt."""
    body: dict[str, Any] = {"logprobs": 2, "max_tokens": 0, "echo": True}
    if stream:
        options = {"include_usage": True}
        *chunks, last = COMPLETIONS.stream(http, PROMPT, stream_options=options, **body)
        choice, usage = chunks[0]["choices"][0], last["usage"]
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "length"]
    else:
        answer = COMPLETIONS.ask(http, PROMPT, **body)
        (choice,), usage = answer.body["choices"], answer.usage
        assert answer.reason == "length"
    assert choice["text"] == PROMPT
    found = check(choice, 2)
    assert found["token_logprobs"][0] is None
    assert None not in found["token_logprobs"][1:]
    assert usage["completion_tokens"] == 0
    assert usage["prompt_tokens"] == len(found["tokens"])


def test_the_prompts_judgement_is_the_samplers(http: httpx.Client) -> None:
    """A sampled text, given as a prompt, is as likely as it was."""
    (first,) = ask(http, logprobs=0, max_tokens=6)
    (again,) = ask(http, prompt=PROMPT + first["text"], logprobs=0, max_tokens=0, echo=True)
    sampled, given = first["logprobs"], again["logprobs"]
    assert given["tokens"][-6:] == sampled["tokens"]
    assert given["token_logprobs"][-6:] == pytest.approx(sampled["token_logprobs"], abs=CLOSE)


def test_echo_of_token_ids(http: httpx.Client) -> None:
    ids = [[300, 301, 302], [70, 71]]
    choices = ask(http, prompt=ids, n=2, logprobs=1, max_tokens=2, echo=True)
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    for choice, prompt in zip(choices, [ids[0], ids[0], ids[1], ids[1]], strict=True):
        found = check(choice, 1)
        assert len(found["tokens"]) == len(prompt) + 2
        assert found["token_logprobs"][0] is None


def test_echo_of_several_prompts(http: httpx.Client) -> None:
    prompts = ["1, 2, 3,", "Once upon", "ünï 🙂"]
    choices = ask(http, prompt=prompts, max_tokens=3, echo=True)
    for choice, prompt in zip(choices, prompts, strict=True):
        assert choice["text"].startswith(prompt)
        assert len(choice["text"]) > len(prompt)


# ------------------------------------------------------------------ bad values


@pytest.mark.parametrize(
    ("dialect", "params", "param"),
    [
        (CHAT, {"top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"top_logprobs": 2, "logprobs": False}, "top_logprobs"),
        *((CHAT, {"logprobs": True, "top_logprobs": n}, "top_logprobs") for n in (21, -1, "two")),
        *((CHAT, {"logprobs": value}, "logprobs") for value in (1, "yes")),
        *((COMPLETIONS, {"logprobs": value}, "logprobs") for value in (21, -1, True, "three")),
        (COMPLETIONS, {"echo": 1}, "echo"),
        (COMPLETIONS, {"echo": True, "suffix": "end"}, "echo"),
    ],
    ids=str,
)
def test_bad_values(
    front: httpx.Client, dialect: Dialect, params: dict[str, Any], param: str
) -> None:
    failure = dialect.refusal(front.post(dialect.path, json=dialect.body(**params)))
    assert (failure.status, failure.param) == (400, param)
    assert param in failure.message
