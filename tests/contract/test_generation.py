"""Generated answers: lengths, ends, stop strings, usage, and how tokens are chosen.

Texts are compared on the exact server, where they do not depend on what else was in the batch or
in the cache.
"""

from typing import Any

import httpx
import pytest

from tests.contract.conftest import Asked
from tests.support.dialects import CHAT, COMPLETIONS, INFER, Dialect

GREEDY: dict[str, Any] = {"temperature": 0}
LONG: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 40}
CONTEXT = 2048
STORY = "tell me a story about a fox"


def test_two_plus_two(http: httpx.Client) -> None:
    assert "4" in INFER.ask(http, "what is 2+2?").text
    assert "4" in CHAT.ask(http, "what is 2+2?", **GREEDY).text


@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_exactly_max_tokens(http: httpx.Client, dialect: Dialect, count: int) -> None:
    answer = dialect.ask(http, max_tokens=count, ignore_eos=True)
    assert answer.usage["completion_tokens"] == count
    assert answer.reason == "length"


def test_newer_name_of_the_limit(http: httpx.Client) -> None:
    answer = CHAT.ask(http, max_completion_tokens=3, ignore_eos=True)
    assert answer.usage["completion_tokens"] == 3


def test_completions_default_to_16(http: httpx.Client) -> None:
    assert COMPLETIONS.ask(http, ignore_eos=True).usage["completion_tokens"] == 16


@pytest.mark.parametrize("dialect", [INFER, CHAT], ids=str)
def test_others_default_to_the_whole_context(http: httpx.Client, dialect: Dialect) -> None:
    answer = dialect.ask(http, "7 + " * 500, ignore_eos=True)
    assert answer.usage["total_tokens"] == CONTEXT
    assert answer.reason == "length"


@pytest.mark.parametrize("dialect", [INFER, CHAT], ids=str)
def test_a_turn_ends_by_itself(http: httpx.Client, dialect: Dialect) -> None:
    answer = dialect.ask(http, "what is 2+2?", **GREEDY)
    assert answer.reason == "stop"
    assert answer.text
    assert "<|" not in answer.text


def test_usage_adds_up(http: httpx.Client, dialect: Dialect) -> None:
    usage = dialect.ask(http, "one two three", max_tokens=4, ignore_eos=True).usage
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] >= 3


def test_a_prompt_is_computed_once(http: httpx.Client, dialect: Dialect) -> None:
    # Unlike any other prompt in the suite, so that nothing of it is cached at first.
    prompt = f"{dialect.name} counts: " + " ".join(str(n * n) for n in range(120))
    first = dialect.ask(http, prompt, max_tokens=1).usage
    again = dialect.ask(http, prompt, max_tokens=1).usage
    assert again["prompt_tokens"] == first["prompt_tokens"] > 200
    assert first["prompt_tokens_details"]["cached_tokens"] < 50
    # The last token is computed anyway: its logits are needed.
    assert again["prompt_tokens_details"]["cached_tokens"] == first["prompt_tokens"] - 1


def test_raw_leaves_the_template_out(exact_http: httpx.Client) -> None:
    templated = INFER.ask(exact_http, STORY, **LONG)
    raw = INFER.ask(exact_http, STORY, raw=True, **LONG)
    assert raw.usage["prompt_tokens"] < templated.usage["prompt_tokens"]
    assert raw.text == COMPLETIONS.ask(exact_http, STORY, **LONG).text
    assert templated.text == CHAT.ask(exact_http, STORY, **LONG).text


# --------------------------------------------------------------------------- stop strings


def expected_at(text: str, stop: str) -> str:
    """The text before the first ``stop`` in it."""
    assert stop in text
    return text[: text.index(stop)]


def test_stop_strings_anywhere_in_a_token(exact_http: httpx.Client, dialect: Dialect) -> None:
    text = dialect.ask(exact_http, STORY, **LONG).text
    for start in range(5, 65, 12):
        stop = text[start : start + 4]
        answer = dialect.ask(exact_http, STORY, stop=stop, **LONG)
        assert (answer.text, answer.reason) == (expected_at(text, stop), "stop")


def test_stop_strings_across_tokens(exact_http: httpx.Client, streaming: Dialect) -> None:
    """Each stop begins in one token and ends in a later one; a part of it must not leak."""
    logprobs = True if streaming is CHAT else 1  # each token has a chunk of its own then
    tokens = streaming.stream(exact_http, STORY, logprobs=logprobs, **LONG)
    pieces = list(filter(None, map(streaming.piece, tokens)))
    assert len(pieces) > 20
    text = "".join(pieces)
    for left, middle, right in list(zip(pieces, pieces[1:], pieces[2:], strict=False))[2:6]:
        for stop in (left[-1] + middle[0], left[-1] + middle + right[0]):
            chunks = streaming.stream(exact_http, STORY, stop=[stop], **LONG)
            assert streaming.joined(chunks) == expected_at(text, stop)
            assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_earliest_of_several(exact_http: httpx.Client, dialect: Dialect) -> None:
    text = dialect.ask(exact_http, STORY, **LONG).text
    late, early = text[40:44], text[20:24]
    answer = dialect.ask(exact_http, STORY, stop=[late, "never this", early], **LONG)
    first = min(text.index(late), text.index(early))
    assert (answer.text, answer.reason) == (text[:first], "stop")


def test_a_stop_string_that_never_comes(exact_http: httpx.Client, dialect: Dialect) -> None:
    """Text like its beginning is held back, and must be given out in the end."""
    text = dialect.ask(exact_http, STORY, **LONG).text
    answer = dialect.ask(exact_http, STORY, stop=text[-6:] + "\x00", **LONG)
    assert (answer.text, answer.reason) == (text, "length")


# --------------------------------------------------------------------------- sampling

SAMPLED: dict[str, Any] = {"temperature": 1.0, "ignore_eos": True, "max_tokens": 40}


def test_a_seed_is_a_text(exact_http: httpx.Client, dialect: Dialect) -> None:
    texts = [dialect.ask(exact_http, STORY, seed=seed, **SAMPLED).text for seed in range(4)]
    again = [dialect.ask(exact_http, STORY, seed=seed, **SAMPLED).text for seed in range(4)]
    assert texts == again
    assert len(set(texts)) > 1


def test_the_seed_told_reproduces_the_text(exact_http: httpx.Client, dialect: Dialect) -> None:
    first = dialect.ask(exact_http, STORY, **SAMPLED)
    seed = int(first.headers["x-seed"])
    assert dialect.ask(exact_http, STORY, seed=seed, **SAMPLED).text == first.text


def test_infer_is_greedy(exact_http: httpx.Client) -> None:
    greedy = {key: value for key, value in LONG.items() if key != "temperature"}
    assert INFER.ask(exact_http, STORY, **greedy).text == CHAT.ask(exact_http, STORY, **LONG).text


def test_the_others_are_not(exact_http: httpx.Client, streaming: Dialect) -> None:
    sampled = {key: value for key, value in LONG.items() if key != "temperature"}
    texts = {streaming.ask(exact_http, STORY, seed=seed, **sampled).text for seed in range(4)}
    assert len(texts) > 1


@pytest.mark.parametrize(
    "params",
    [{"top_k": 1}, {"top_p": 0}, {"min_p": 1}, *({"temperature": t} for t in (1e-6, 1e-40, 0))],
    ids=str,
)
def test_other_words_for_greedy(
    exact_http: httpx.Client, once: Asked, dialect: Dialect, params: dict[str, Any]
) -> None:
    greedy = once(dialect, STORY, **LONG)
    assert dialect.ask(exact_http, STORY, **{**SAMPLED, **params}).text == greedy


@pytest.mark.parametrize(
    "params",
    [
        {"top_k": -1, "top_p": 1, "min_p": 0},
        {"repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0},
    ],
    ids=str,
)
def test_neutral_values(
    exact_http: httpx.Client, once: Asked, dialect: Dialect, params: dict[str, Any]
) -> None:
    sampled = {**SAMPLED, **dialect.uncut}
    plain = once(dialect, STORY, seed=7, **sampled)
    assert dialect.ask(exact_http, STORY, seed=7, **{**sampled, **params}).text == plain


@pytest.mark.parametrize(
    "params",
    [{"repeat_penalty": 3}, {"frequency_penalty": 2}, {"presence_penalty": 2}],
    ids=str,
)
def test_penalties_act(
    exact_http: httpx.Client, once: Asked, dialect: Dialect, params: dict[str, Any]
) -> None:
    long = {**LONG, "max_tokens": 100}
    plain = once(dialect, STORY, **long)
    assert dialect.ask(exact_http, STORY, **long, **params).text != plain


def test_a_high_temperature_is_no_greedy(
    exact_http: httpx.Client, once: Asked, dialect: Dialect
) -> None:
    greedy = once(dialect, STORY, **LONG)
    assert dialect.ask(exact_http, STORY, **{**LONG, "temperature": 5}).text != greedy
