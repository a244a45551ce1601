"""How likely tokens were, and prompts given back: held against llama.cpp's logits, one by one."""

import math
from collections import abc
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.engine_driver import GREEDY, Driver, Outcome, driver, generate, with_params
from workers.engine.sequence import EngineSequence
from workers.llama import Model
from workers.protocol import Chat, Generate, Grammar, Logprob, Sampling, TokenChance, Tokens
from workers.refused import InputRefused
from workers.sampling.logprobs import FLOOR, LogprobReader, likeliest

PROMPT = "Once upon a time there was a little"
SEEDED = Sampling(seed=5, temperature=1.3, top_p=0.9, repeat_penalty=1.3)
CLOSE = 1e-4
"""Rows of F32 logits agree to 2e-6, whatever the batch."""


@pytest.fixture
def tight(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """256 cells, llama.cpp's least."""
    with driver(f32_model, f32_path, n_ctx=256, exact=True) as made:
        yield made


def reference(made: Driver, tokens: abc.Sequence[int]) -> list[NDArray[np.float64]]:
    """Log probabilities after each of ``tokens``, computed one token at a time."""
    n_vocab, rows = made.input_processor._model.n_vocab, []
    for position, token in enumerate(tokens):
        assert made.context.decode([(0, position, [token], 1)]) == 0
        row = llama_cpp.llama_get_logits_ith(made.context.handle, 0)
        logits = np.ctypeslib.as_array(row, (n_vocab,)).astype(np.float64)
        rows.append(logits - np.logaddexp.reduce(logits))
    made.context.drop(0)
    return rows


def check(made: Driver, found: Logprob, row: NDArray[np.float64], top: int) -> None:
    """``found`` says what ``row`` says."""
    model = made.input_processor._model
    for one in (found.chosen, *found.top):
        assert one.logprob == pytest.approx(row[one.id], abs=CLOSE)
        assert one.piece == model.shown(one.id) != b""
    assert [one.logprob for one in found.top] == sorted(
        (o.logprob for o in found.top), reverse=True
    )
    assert len({one.id for one in found.top}) == top
    if top:
        assert found.top[-1].logprob == pytest.approx(np.sort(row)[-top], abs=CLOSE)


def check_answer(made: Driver, request: Generate, outcome: Outcome) -> None:
    """Each sampled token of an answer that has not ended by itself."""
    assert request.params.logprobs is not None
    prompt = made.input_processor.prepare(request).tokens
    rows = reference(made, prompt + outcome.ids)[len(prompt) - 1 : -1]
    assert [one.chosen.id for one in outcome.logprobs] == outcome.ids
    for found, row in zip(outcome.logprobs, rows, strict=True):
        check(made, found, row, request.params.logprobs)


def judged(outcome: Outcome) -> list[Logprob]:
    assert outcome.echo is not None
    assert outcome.echo.extra is not None
    return outcome.echo.extra.logprobs


def check_echo(made: Driver, request: Generate, outcome: Outcome) -> None:
    """Each token of the prompt."""
    assert request.params.logprobs is not None
    tokens = made.input_processor.prepare(request).tokens
    first, *others = judged(outcome)
    assert math.isnan(first.chosen.logprob)
    assert (first.chosen.id, first.top) == (tokens[0], [])
    assert [one.chosen.id for one in others] == tokens[1:]
    for found, row in zip(others, reference(made, tokens), strict=False):
        check(made, found, row, request.params.logprobs)


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


# ------------------------------------------------------------------ the prompt


@pytest.mark.parametrize("text", [PROMPT, "ünïcödé 🙂 ", "a<|im_end|>\nb", " a"])
def test_the_prompt_comes_first(exact: Driver, text: str) -> None:
    request = generate(1, text, echo=True, max_tokens=3)
    before = exact.engine._prefilled
    (outcome,) = exact.run(request)
    assert outcome.echo is not None
    assert outcome.echo.text == text
    assert judged(outcome) == []
    assert exact.engine._prefilled - before == len(exact.input_processor.prepare(request).tokens)
    assert outcome.ids == exact.alone(generate(2, text, max_tokens=3)).ids


@pytest.mark.parametrize("top", [0, 3])
def test_the_prompts_tokens(exact: Driver, top: int) -> None:
    exact.run(generate(1, PROMPT))  # its cells could be shared
    request = generate(2, f"{PROMPT} girl", echo=True, logprobs=top, max_tokens=4)
    (outcome,) = exact.run(request)
    check_echo(exact, request, outcome)
    check_answer(exact, request, outcome)
    (after,) = exact.run(generate(3, f"{PROMPT} girl"))
    assert after.started is not None
    assert after.started.cached_tokens == after.started.prompt_tokens - 1, "its cells are of use"


@pytest.mark.parametrize("judged_first", [False, True])
def test_nobody_waits_for_a_prompt_that_is_judged(
    exact: Driver, monkeypatch: pytest.MonkeyPatch, judged_first: bool
) -> None:
    """It is computed slowly, and can't use others' cells: both prompts are computed at once."""
    monkeypatch.setattr(exact.context, "rows", 5)
    prompt = "one two three four five six seven eight nine ten " * 4
    judged = generate(1, prompt, max_tokens=5, echo=True, logprobs=0)
    requests = [judged, generate(2, prompt, max_tokens=5)]
    exact.submit(*(requests if judged_first else requests[::-1]))
    slow, fast = exact.outcomes[1], exact.outcomes[2]
    exact.step()
    assert slow.started is not None
    assert fast.started is not None
    assert fast.ids, "the budget is enough for both"
    assert not slow.ids
    while exact.busy:
        exact.step()
    assert slow.ids == fast.ids


@pytest.mark.parametrize("rows", [2, 5, 128])
def test_longer_than_a_batch(exact: Driver, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """In steps of the rows that there are; more would end the process."""
    monkeypatch.setattr(exact.context, "rows", rows)
    decode, most = exact.context.decode, 0

    def counted(chunks: abc.Sequence[tuple[int, int, abc.Sequence[int], int]]) -> int:
        nonlocal most
        most = max(most, sum(wanted for *_, wanted in chunks))
        return decode(chunks)

    request = generate(1, " a b c" * 50, echo=True, logprobs=1, max_tokens=2)
    neighbour = generate(2, PROMPT, max_tokens=4)
    monkeypatch.setattr(exact.context, "decode", counted)
    outcome, other = exact.run(request, neighbour)
    monkeypatch.undo()
    assert most == rows if rows < 128 else most <= rows
    assert len(judged(outcome)) > 128
    check_echo(exact, request, outcome)
    assert other.ids == exact.alone(generate(3, PROMPT, max_tokens=4)).ids


@pytest.mark.parametrize("logprobs", [None, 2])
def test_nothing_but_the_prompt(exact: Driver, logprobs: int | None) -> None:
    request = generate(1, PROMPT, echo=True, logprobs=logprobs, max_tokens=0)
    before = exact.engine._steps
    (outcome,) = exact.run(request)
    assert outcome.echo is not None
    assert outcome.echo.text == PROMPT
    assert (outcome.ids, outcome.text, outcome.reason) == ([], "", "length")
    if logprobs is None:
        assert exact.engine._steps == before, "there is nothing to compute"
    else:
        check_echo(exact, request, outcome)


def test_nothing_is_left_to_do_after_a_death(exact: Driver) -> None:
    """The worker died between the echo and the end."""
    (outcome,) = exact.run(generate(1, PROMPT, logprobs=2, max_tokens=0, attempt=2))
    assert (outcome.ids, outcome.reason, outcome.echo) == ([], "length", None)


def test_a_prompt_may_fill_the_context_if_nothing_follows(tight: Driver) -> None:
    full = Tokens([70] * 256)
    (outcome,) = tight.run(generate(1, full, echo=True, logprobs=0, max_tokens=0))
    assert len(judged(outcome)) == 256
    with pytest.raises(InputRefused, match="256 tokens"):
        tight.submit(generate(2, full, echo=True, max_tokens=1))


def test_one_token(exact: Driver) -> None:
    request = generate(1, Tokens([70]), echo=True, logprobs=2, max_tokens=2)
    (outcome,) = exact.run(request)
    check_echo(exact, request, outcome)
    check_answer(exact, request, outcome)


def test_tokens_that_are_no_characters(exact: Driver, f32_model: Model) -> None:
    ids = f32_model.tokenize("é")[:1] + f32_model.tokenize("<|im_end|>a")
    (outcome,) = exact.run(generate(1, Tokens(ids), echo=True, logprobs=0, max_tokens=1))
    assert outcome.echo is not None
    assert outcome.echo.text == "\ufffd<|im_end|>a"
    assert [one.chosen.id for one in judged(outcome)] == ids
    assert judged(outcome)[1].chosen.piece == b"<|im_end|>"


class Spaced:
    """A model that puts BOS and a space before every text, as SentencePiece's do."""

    adds_bos = True

    def shown(self, token: int) -> bytes:
        return {1: b"<s>", 5: b" Once", 6: b" upon"}[token]


@pytest.mark.parametrize(
    ("prompt", "ids", "text", "pieces"),
    [
        ("Once upon", [1, 5, 6], "Once upon", [b"Once", b" upon"]),
        (Tokens([5, 6]), [5, 6], " Once upon", [b" Once", b" upon"]),
        (Tokens([1, 5]), [1, 5], "<s> Once", [b"<s>", b" Once"]),
        ("", [1], "", []),
    ],
)
def test_what_the_tokeniser_added_is_not_given_back(
    exact: Driver, prompt: str | Tokens, ids: list[int], text: str, pieces: list[bytes]
) -> None:
    exact.input_processor._model = Spaced()  # type: ignore[assignment]
    request = generate(1, prompt, echo=True, logprobs=0)
    echo = exact.input_processor._echo(request, ids)
    assert echo.text == text
    while (index := echo.lacks) is not None:
        echo.add(Logprob(TokenChance(ids[index], b"?", -1.0), []))
    told = [one.chosen for one in echo.extra.logprobs]
    assert [one.piece for one in told] == pieces
    assert [one.id for one in told] == ids[len(ids) - len(pieces) :]
    # After BOS the first one has a chance of its own.
    assert [math.isnan(one.logprob) for one in told] == [
        isinstance(prompt, Tokens) and i == 0 for i in range(len(told))
    ]


# ------------------------------------------------------------------ interruptions


def test_cells_run_out(tight: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was put back is computed again, but neither told nor judged twice."""
    monkeypatch.setattr(tight.context, "rows", 6)
    requests = [
        generate(n, f"{n} {PROMPT}", echo=True, logprobs=2, max_tokens=90) for n in range(1, 5)
    ]
    evict_running: list[int] = []
    real = tight.engine.scheduler.evict_running

    def counted(sequence: EngineSequence) -> None:
        evict_running.append(sequence.request.id)
        real(sequence)

    monkeypatch.setattr(tight.engine.scheduler, "evict_running", counted)
    outcomes = tight.run(*requests)
    assert evict_running, "the cells were enough: this tests nothing"
    for request, outcome in zip(requests, outcomes, strict=True):
        check_echo(tight, request, outcome)
        check_answer(tight, request, outcome)


def test_cells_lost_in_the_middle_of_a_prompt(
    exact: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact.context, "rows", 4)
    request = generate(1, f"{PROMPT} {PROMPT}", echo=True, logprobs=1, max_tokens=3)
    (outcome,) = exact.submit(request)
    exact.step(2)
    (sequence,) = exact.engine.scheduler.running
    assert 0 < sequence.computed < sequence.prompt_tokens - 1
    assert sequence.logits_from == sequence.computed
    exact.engine.scheduler.evict_running(sequence)
    exact.run()
    check_echo(exact, request, outcome)
    check_answer(exact, request, outcome)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("robbed", [False, True])
def test_parked_at_any_time(
    exact: Driver, monkeypatch: pytest.MonkeyPatch, steps: int, robbed: bool
) -> None:
    """Before, in the middle of and after the echo."""
    monkeypatch.setattr(exact.context, "rows", 3)
    request = generate(1, PROMPT, echo=True, logprobs=1, max_tokens=10)
    (outcome,) = exact.submit(request)
    exact.step(steps)
    exact.park(1)
    exact.step()
    assert outcome.parked == 1
    (parked,) = exact.engine.scheduler.parked.values()
    if robbed and parked.saved is not None:
        exact.store.remove(parked.saved)
        parked.saved = None
    exact.unpark(request)
    exact.run()
    check_echo(exact, request, outcome)
    check_answer(exact, request, outcome)


def test_another_worker_goes_on(exact: Driver) -> None:
    request = generate(1, PROMPT, sampling=SEEDED, echo=True, logprobs=2, max_tokens=9)
    whole = exact.alone(request)
    check_echo(exact, request, whole)
    for cut in (1, 5):
        resumed = msgspec.structs.replace(request, id=10 + cut, attempt=2, resume=whole.ids[:cut])
        rest = exact.alone(with_params(resumed, echo=False))
        assert rest.echo is None
        assert rest.ids == whole.ids[cut:]
        for a, b in zip(rest.logprobs, whole.logprobs[cut:], strict=True):
            assert (a.chosen.id, a.chosen.piece) == (b.chosen.id, b.chosen.piece)
            assert a.chosen.logprob == pytest.approx(b.chosen.logprob, abs=CLOSE)


def test_a_failed_batch_loses_nothing(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact.context, "rows", 5)
    requests = [generate(n, f"{n} {PROMPT}", echo=True, logprobs=1, max_tokens=4) for n in (1, 2)]
    decode, results = exact.context.decode, iter([None, None, -3])
    monkeypatch.setattr(
        exact.context, "decode", lambda chunks: next(results, None) or decode(chunks)
    )
    outcomes = exact.run(*requests)
    monkeypatch.undo()
    for request, outcome in zip(requests, outcomes, strict=True):
        check_echo(exact, request, outcome)
        check_answer(exact, request, outcome)
