"""Probabilities of sampled tokens."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.engine_driver import GREEDY, Driver, generate, with_params
from tests.workers.sampling.judging import PROMPT, SEEDED, check_answer, check_echo
from workers.llama import Model
from workers.protocol import Chat, Grammar, Sampling
from workers.sampling.logprobs import FLOOR, LogprobReader, likeliest

# ------------------------------------------------------------------ one row

NUMBERS = st.floats(-60, 60, width=32)


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=400), st.integers(0, 20))
def test_the_likeliest(values: list[float], count: int) -> None:
    logits = np.array(values, np.float32)
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
    assert likeliest(logits, count) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 6000), st.booleans())
def test_the_likeliest_of_a_large_vocabulary(seed: int, count: int, size: int, ties: bool) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)
    if ties:
        logits = np.round(logits)
    expected = np.argsort(-logits, kind="stable")[:count]
    assert likeliest(logits, count) == expected.tolist()


@pytest.mark.parametrize(
    "values",
    [[-math.inf, 0.0, 3e38], [math.nan, 1.0, 2.0], [math.inf, 1.0, 2.0], [-math.inf] * 3],
)
def test_every_number_is_finite(values: list[float]) -> None:
    logits = np.array(values, np.float32)
    chances = LogprobReader(logits, 3, np.empty_like(logits))
    told = [chances.of(token) for token in range(3)] + [chance for _, chance in chances.top]
    assert all(FLOOR <= one <= 0 for one in told)
    assert chances.of(0) == FLOOR, "nothing is known of it, or it is impossible"


# ------------------------------------------------------------------ sampled tokens


@pytest.mark.parametrize("top", [0, 1, 5, 20])
@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_sampled_tokens(exact: Driver, sampling: Sampling, top: int) -> None:
    request = generate(1, PROMPT, sampling=sampling, logprobs=top, max_tokens=12)
    outcome = exact.alone(request)
    assert outcome.ids == exact.alone(generate(2, PROMPT, sampling=sampling, max_tokens=12)).ids
    check_answer(exact, request, outcome)
    if sampling is GREEDY and top:
        assert all(one.chosen == one.top[0] for one in outcome.logprobs)


def test_nothing_is_told_unasked(exact: Driver) -> None:
    (outcome,) = exact.run(generate(1, PROMPT))
    assert (outcome.logprobs, outcome.echo) == ([], None)


def test_bans_and_biases_do_not_change_what_the_model_thinks(exact: Driver) -> None:
    plain = exact.alone(generate(1, PROMPT, logprobs=3, max_tokens=1))
    (best,) = plain.ids
    banned = Sampling(seed=0, temperature=0.0, logit_bias=[(best, -math.inf)])
    request = generate(2, PROMPT, sampling=banned, logprobs=3, max_tokens=6)
    outcome = exact.alone(request)
    check_answer(exact, request, outcome)
    assert outcome.logprobs[0].top[0].id == best != outcome.ids[0]


def test_nor_does_a_constraint(exact: Driver) -> None:
    request = with_params(
        generate(1, PROMPT, logprobs=4, max_tokens=8), constraint=Grammar("root ::= [0-9 ]{40}")
    )
    outcome = exact.alone(request)
    assert outcome.text.replace(" ", "").isdigit()
    check_answer(exact, request, outcome)
    assert outcome.logprobs[0].chosen not in outcome.logprobs[0].top, (
        "a mask would have put it on top"
    )


def test_the_end_of_a_turn_is_no_part_of_the_answer(exact: Driver, f32_model: Model) -> None:
    hello = Chat([{"role": "user", "content": "What is 2+2?"}])
    outcome = exact.alone(generate(1, hello, logprobs=2, max_tokens=200, ignore_eos=False))
    assert outcome.reason == "stop"
    assert outcome.ids[-1] in f32_model.eog
    assert [one.chosen.id for one in outcome.logprobs] == outcome.ids[:-1]
    assert b"".join(one.chosen.piece for one in outcome.logprobs).decode() == outcome.text


def test_what_a_stop_string_takes_away_was_sampled_all_the_same(exact: Driver) -> None:
    whole = exact.alone(generate(1, PROMPT, logprobs=2))
    at = len(whole.texts[0] + whole.texts[1]) - 1
    stop = whole.text[at : at + len(whole.texts[2]) + 1]
    stopped = exact.alone(generate(2, PROMPT, logprobs=2, stop=(stop,)))
    assert stopped.reason == "stop"
    assert len(stopped.logprobs) == len(stopped.ids) > 1
    assert stopped.logprobs == whole.logprobs[: len(stopped.ids)]
    # At every cut another worker tells exactly the rest, though the text was held back.
    for cut in range(1, len(stopped.ids)):
        resume = tuple(stopped.ids[:cut])
        rest = exact.alone(generate(2 + cut, PROMPT, logprobs=2, stop=(stop,), resume=resume))
        assert [one.chosen.id for one in rest.logprobs] == stopped.ids[cut:]


def test_neighbours_are_undisturbed(exact: Driver) -> None:
    plain = [generate(n, f"{n} {PROMPT}", sampling=Sampling(n, 1.0)) for n in (1, 2)]
    alone = [exact.alone(request) for request in plain]
    long = generate(3, " a b" * 40, logprobs=5, echo=True, max_tokens=5)
    *together, told = exact.run(*plain, long)
    for a, b in zip(alone, together, strict=True):
        assert (a.ids, a.text, a.reason, b.logprobs) == (b.ids, b.text, b.reason, [])
    check_echo(exact, long, told)
