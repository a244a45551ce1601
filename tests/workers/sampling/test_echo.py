"""Prompts given back, and how likely their tokens were."""

import math
from collections import abc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.engine_driver import Driver, driver, generate, with_params
from tests.workers.sampling.judging import CLOSE, PROMPT, SEEDED, check_answer, check_echo, judged
from workers.engine.sequence import EngineSequence
from workers.llama import Model
from workers.protocol import Logprob, TokenChance, Tokens
from workers.refused import InputRefused


@pytest.fixture
def tight(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """256 cells, llama.cpp's least."""
    with driver(f32_model, f32_path, n_ctx=256, exact=True) as made:
        yield made


# ------------------------------------------------------------------ the prompt


@pytest.mark.parametrize("text", [PROMPT, "ünïcödé 🙂 ", "a<|im_end|>\nb", " a"])
def test_the_prompt_comes_first(exact: Driver, text: str) -> None:
    request = generate(1, text, echo=True, max_tokens=3)
    before = exact.engine.reporter.prefilled
    (outcome,) = exact.run(request)
    assert outcome.echo is not None
    assert outcome.echo.text == text
    assert judged(outcome) == []
    tokens = exact.input_processor.prepare(request).tokens
    assert exact.engine.reporter.prefilled - before == len(tokens)
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
    before = exact.engine.reporter.steps
    (outcome,) = exact.run(request)
    assert outcome.echo is not None
    assert outcome.echo.text == PROMPT
    assert (outcome.ids, outcome.text, outcome.reason) == ([], "", "length")
    if logprobs is None:
        assert exact.engine.reporter.steps == before, "there is nothing to compute"
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
    """A prompt that was put back is computed again, but neither told nor judged twice."""
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
