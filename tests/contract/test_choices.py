"""Several answers to one request: n, and lists of prompts. One ticket, many sequences."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.contract.test_openai_client import QUESTION, extras
from tests.support.dialects import CHAT, COMPLETIONS, OPENAI, Dialect
from tests.support.server import ALIAS, ForgeServer, eventually
from tests.support.traffic import ENDLESS, Hanging

SEEDED = {"temperature": 1.0, "seed": 41, "max_tokens": 24, "ignore_eos": True}


@pytest.fixture
def client(exact_server: ForgeServer) -> Iterator[openai.OpenAI]:
    base_url = f"{exact_server.url}/v1"
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client


def post(http: httpx.Client, dialect: Dialect, **params: Any) -> dict[str, Any]:
    response = http.post(dialect.path, json={**dialect.body("once"), **params})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def texts(body: dict[str, Any]) -> list[str]:
    assert [choice["index"] for choice in body["choices"]] == list(range(len(body["choices"])))
    return [
        choice["text"] if "text" in choice else choice["message"]["content"]
        for choice in body["choices"]
    ]


@pytest.mark.parametrize("dialect", OPENAI, ids=str)
def test_each_choice_is_that_of_the_next_seed(exact_http: httpx.Client, dialect: Dialect) -> None:
    together = post(exact_http, dialect, n=3, **SEEDED)
    alone = [post(exact_http, dialect, **{**SEEDED, "seed": 41 + i}) for i in range(3)]
    assert texts(together) == [texts(body)[0] for body in alone]
    assert len(set(texts(together))) == 3
    usage = together["usage"]
    assert usage["completion_tokens"] == 3 * 24
    assert usage["prompt_tokens"] == alone[0]["usage"]["prompt_tokens"], "the prompt counts once"


LONG = "A prompt that no other test has, so that nothing of it is cached. " * 20


@pytest.mark.parametrize("dialect", OPENAI, ids=str)
def test_they_share_their_prompt(
    exact_server: ForgeServer, exact_http: httpx.Client, dialect: Dialect
) -> None:
    """One worker computes it, once; the usage says what was computed."""
    before = exact_server.workers()
    body = dialect.body(dialect.name + LONG, n=4, **SEEDED)
    usage = exact_http.post(dialect.path, json=body).json()["usage"]
    prompt, cached = usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    assert prompt > 300
    assert cached < 50
    # Each of the other three needs the logits of the last token, and computes that.
    assert sorted(growth(before, exact_server.workers(), "prefill_tokens")) == [
        0,
        prompt - cached + 3,
    ]


def test_three_of_four_copy_it(exact_server: ForgeServer) -> None:
    """Also where it takes several steps, and the others come in the middle of them.

    The prompt is long enough for that: four long answers beside each other have their price.
    """
    before, snapshots = exact_server.workers(), []

    def all_speak() -> bool:
        snapshots.append(exact_server.workers())
        spoken = growth(before, snapshots[-1], "decode_tokens")
        return exact_server.busy() == 4 and max(spoken) >= 16

    body = CHAT.body("cells" + 5 * LONG, n=4, stream=True, **{**SEEDED, "max_tokens": 1000})
    request = Hanging(exact_server, CHAT.path, body)
    try:
        eventually(all_speak, "each has some tokens")
    finally:
        request.hang_up()
    now = snapshots[-1]
    prompt = max(growth(before, now, "prefill_tokens"))
    assert 1700 < prompt < 2200, "it is computed once"
    copied = max(growth(before, now, "restored_tokens"))
    # The first may have some tokens of the template from an earlier chat.
    assert 3 * 1700 < copied < 3 * (prompt + 50)
    (used,) = (worker["cells_used"] for worker in now if worker["cells_used"])
    assert used > copied + prompt, "each has cells of its own"
    eventually(lambda: exact_server.busy() == 0, "all slots are free")


def growth(before: list[dict[str, Any]], after: list[dict[str, Any]], counter: str) -> list[int]:
    """By how much a counter of each worker grew."""
    return [b[counter] - a[counter] for a, b in zip(before, after, strict=True)]


def test_n_may_exceed_the_slots(exact_http: httpx.Client) -> None:
    slots = sum(worker["slots"] for worker in exact_http.get("/workers").json())
    body = post(exact_http, COMPLETIONS, n=2 * slots + 1, temperature=0, max_tokens=5)
    assert len(texts(body)) == 2 * slots + 1
    assert len(set(texts(body))) == 1, "greedy"


def test_list_of_prompts(exact_http: httpx.Client) -> None:
    prompts = ["1, 2, 3,", "Once upon", "2 + 2 ="]
    params = {"temperature": 0, "max_tokens": 8}
    alone = [post(exact_http, COMPLETIONS, prompt=prompt, **params) for prompt in prompts]
    body = post(exact_http, COMPLETIONS, prompt=prompts, n=2, **params)
    assert texts(body) == [texts(one)[0] for one in alone for _ in range(2)]
    wanted = sum(one["usage"]["prompt_tokens"] for one in alone)
    assert body["usage"]["prompt_tokens"] == wanted


def test_the_official_client_streams_them(client: openai.OpenAI) -> None:
    params: dict[str, Any] = {"n": 3, "temperature": 1.0, "seed": 7, "max_tokens": 20}
    whole = client.chat.completions.create(model=ALIAS, messages=QUESTION, **params)
    assert list(extras(whole)) == []
    told, reasons, usages = ["", "", ""], {}, []
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model=ALIAS, messages=QUESTION, stream=True, stream_options=options, **params  # type: ignore[call-overload]
    )  # fmt: skip
    for chunk in stream:
        assert list(extras(chunk)) == []
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            assert choice.index not in reasons, "nothing follows a choice's end"
            told[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert told == [choice.message.content for choice in whole.choices]
    assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
    (usage,) = usages
    assert usage.completion_tokens == whole.usage.completion_tokens


@pytest.mark.parametrize("n", [0, -1, 129, 1.5, "two", True])
def test_bad_n(front: httpx.Client, n: Any) -> None:
    for dialect in OPENAI:
        failure = dialect.refusal(front.post(dialect.path, json=dialect.body(n=n)))
        assert (failure.status, failure.param) == (400, "n")


@pytest.mark.parametrize(
    "prompt",
    [[], [-1], [1, "a"], ["a", 1], [[1], []], [99999], ["a", None], ["a"] * 257, {"a": 1}, None],
)
def test_bad_prompts(http: httpx.Client, prompt: Any) -> None:
    failure = COMPLETIONS.refusal(http.post(COMPLETIONS.path, json={"prompt": prompt}))
    assert failure.status == 400
    assert failure.param is not None
    assert failure.param.startswith("prompt")


def test_prompts_times_n_is_bounded(front: httpx.Client) -> None:
    body = {"prompt": ["a"] * 100, "n": 3}
    failure = COMPLETIONS.refusal(front.post(COMPLETIONS.path, json=body))
    assert (failure.status, failure.param) == (400, "prompt")
    assert "256" in failure.message


def test_one_bad_prompt_fails_the_request_and_nothing_else(http: httpx.Client) -> None:
    prompts = ["hello", "7 + 7. " * 1000, "hello"]
    failure = COMPLETIONS.refusal(http.post(COMPLETIONS.path, json={"prompt": prompts}))
    assert (failure.status, failure.code) == (400, "context_length_exceeded")
    eventually(lambda: http.get("/metrics").json()["running"] == 0, "its neighbours gave up too")
    assert CHAT.ask(http, max_tokens=1).text is not None


def test_hang_up_frees_all_of_them(server: ForgeServer, http: httpx.Client) -> None:
    slots = sum(worker["slots"] for worker in server.workers())
    params = {**ENDLESS, "max_tokens": 2000, "n": slots + 3, "stream": True}
    request = Hanging(server, CHAT.path, CHAT.body(**params))
    request.read_until(b"data: ")
    eventually(lambda: server.busy() == slots and len(server.waiting()) == 3)
    places = server.waiting()
    assert len({place["id"] for place in places}) == 1
    assert [place["choice"] for place in places] == [slots, slots + 1, slots + 2]
    request.hang_up()
    eventually(lambda: server.busy() == 0 and not server.waiting(), "all slots are free")
