"""Prompts that are too long and may be cut, contexts that a request narrows, and what is told."""

import msgspec
import pytest

from tests.support.engine_driver import Driver, generate, with_params
from tests.workers.engine.test_engine import HELLO, PROMPT
from workers.llama import Model
from workers.protocol import (
    BAD_PROMPT,
    CONTEXT_OVERFLOW,
    Chat,
    Generate,
    Tokens,
    longest_prompt,
)
from workers.refused import InputRefused

LIMIT = 512
"""Tokens of a sequence of the driver."""
LONG = "A long story of a queue that never ended. " * 100


def told(id_: int, prompt: str | Chat | Tokens, **params: object) -> Generate:
    return with_params(generate(id_, prompt), prompt_ids=True, **params)


def prompt_of(driver: Driver, request: Generate) -> list[int]:
    """The tokens of a prompt, as the gateway is told them."""
    outcome = driver.alone(request)
    assert outcome.started is not None
    assert len(outcome.started.prompt) == outcome.started.prompt_tokens
    return outcome.started.prompt


def test_the_prompt_is_told_if_asked_for(f16: Driver, f16_model: Model) -> None:
    tokens = f16_model.tokenize(PROMPT)
    assert prompt_of(f16, told(1, PROMPT)) == tokens
    assert prompt_of(f16, told(2, Tokens(tokens))) == tokens
    plain = f16.alone(generate(3, PROMPT))
    assert plain.started is not None
    assert plain.started.prompt == []


def test_the_prompt_is_told_without_what_was_resumed(f16: Driver, f16_model: Model) -> None:
    resumed = msgspec.structs.replace(told(1, PROMPT), attempt=2, resume=[5, 6, 7])
    assert prompt_of(f16, resumed) == f16_model.tokenize(PROMPT)


# ------------------------------------------------------------------ a narrower context


def test_a_narrower_context_ends_the_answer(f16: Driver, f16_model: Model) -> None:
    tokens = len(f16_model.tokenize(PROMPT))
    whole = f16.alone(generate(1, PROMPT))
    short = f16.alone(with_params(generate(2, PROMPT), context=tokens + 5))
    assert (short.reason, short.ids) == ("length", whole.ids[:5])


def test_a_wider_one_changes_nothing(f16: Driver) -> None:
    whole = f16.alone(generate(1, PROMPT))
    assert f16.alone(with_params(generate(2, PROMPT), context=10**6)).ids == whole.ids


@pytest.mark.parametrize("prompt", [HELLO, PROMPT])
def test_a_prompt_that_leaves_it_no_room_is_refused(
    f16: Driver, f16_model: Model, prompt: str | Chat
) -> None:
    tokens = len(prompt_of(f16, told(1, prompt)))
    request = with_params(generate(2, prompt), context=tokens)
    with pytest.raises(InputRefused, match=f"context length is {tokens} tokens") as caught:
        f16.submit(request)
    assert (caught.value.code, caught.value.overflow) == (CONTEXT_OVERFLOW, (tokens, tokens))


# ------------------------------------------------------------------ cuts


@pytest.mark.parametrize("kept", [0, 4, 50, 10**6])
@pytest.mark.parametrize("max_tokens", [24, None])
def test_a_prompt_loses_what_follows_its_beginning(
    f16: Driver, f16_model: Model, kept: int, max_tokens: int | None
) -> None:
    tokens = f16_model.tokenize(LONG)
    assert len(tokens) > LIMIT
    cut = prompt_of(f16, told(1, LONG, cut_after=kept, max_tokens=max_tokens, ignore_eos=False))
    assert len(cut) == longest_prompt(LIMIT, max_tokens)
    first = min(kept, len(cut) // 2)
    assert cut == tokens[:first] + tokens[len(tokens) - len(cut) + first :]


def test_a_prompt_that_fits_is_whole(f16: Driver, f16_model: Model) -> None:
    assert prompt_of(f16, told(1, PROMPT, cut_after=0)) == f16_model.tokenize(PROMPT)


def test_a_conversation_is_cut_to_a_narrower_context(f16: Driver) -> None:
    chat = Chat([{"role": "user", "content": LONG}])
    assert len(prompt_of(f16, told(1, chat, cut_after=4, context=100))) == longest_prompt(100, 24)


def test_the_smallest_context_has_a_prompt(f16: Driver, f16_model: Model) -> None:
    cut = prompt_of(f16, told(1, LONG, cut_after=4, context=4, max_tokens=None))
    tokens = f16_model.tokenize(LONG)
    assert cut == [tokens[0], *tokens[-2:]]


def test_a_cut_prompt_is_the_same_after_a_failure(exact: Driver) -> None:
    request = told(1, LONG, cut_after=4)
    whole = exact.alone(request)
    resumed = msgspec.structs.replace(request, id=2, attempt=2, resume=whole.ids[:9])
    rest = exact.alone(resumed)
    assert whole.ids[:9] + rest.ids == whole.ids


# ------------------------------------------------------------------ a conversation after tokens


def test_a_conversation_after_an_earlier_one(f16: Driver, f16_model: Model) -> None:
    first = f16.alone(told(1, HELLO))
    assert first.started is not None
    before = [*first.started.prompt, *first.ids]
    assert isinstance(HELLO, Chat)
    later = msgspec.structs.replace(HELLO, before=before)
    begin = f16_model.tokenize("")
    again = first.started.prompt
    if begin and again[: len(begin)] == begin:
        again = again[len(begin) :]
    assert prompt_of(f16, told(2, later)) == [*before, *again]


def test_tokens_before_it_must_be_in_the_vocabulary(f16: Driver, f16_model: Model) -> None:
    assert isinstance(HELLO, Chat)
    wrong = msgspec.structs.replace(HELLO, before=[f16_model.n_vocab])
    with pytest.raises(InputRefused, match="'context': token ids") as caught:
        f16.submit(generate(1, wrong))
    assert (caught.value.code, caught.value.param) == (BAD_PROMPT, "context")
