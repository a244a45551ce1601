"""The shape of steps changes logits by roundings alone, which no text of these models shows.

An answer comes token by token. After a worker's death, or where no snapshot of it is left, the same
tokens are computed in chunks, as wide as the other streams allow, and beside them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import ANSWER, ARCHITECTURES, PROMPT, write
from tests.support.engine_driver import Driver, driver, exact_spec, generate, loaded
from workers.llama import OK, Context, Model
from workers.planning.geometry import Geometry
from workers.planning.step_budget import Backlog, StepBudget
from workers.protocol import Tokens

ROUNDING, STATE_ROUNDING = 1e-5, 4e-5
"""The most that a logit may change by, of which the largest are 5; recurrent states pass roundings
on."""
CELLS, SEQUENCES, BATCH = 768, 3, 512
OURS = 1
"""The sequence that answers; the others are before and after it."""
BESIDE = [*range(700, 1400)]


@dataclass(frozen=True)
class Answer:
    """Return the tokens after PROMPT, computed one at a time."""

    tokens: list[int]
    logits: NDArray[np.float32]
    """Before each of them."""

    @property
    def nearest(self) -> float:
        """Return the smallest lead of a chosen token over the next one, in likelihood."""
        best = np.sort(self.logits, axis=1)[:, -2:]
        return float((best[:, 1] - best[:, 0]).min())


def context(model: Model, path: Path, *, unified: bool = False) -> Context:
    cells = CELLS * SEQUENCES if unified else CELLS
    return Context(
        model,
        exact_spec(path, n_ctx=CELLS * SEQUENCES, batch=BATCH),
        Geometry(SEQUENCES, cells, unified),
    )


def logits(made: Context, model: Model, row: int) -> NDArray[np.float32]:
    """Without tokens that end an answer."""
    found = made.logits(row).copy()
    found[list(model.eog)] = -1e9
    return found


def greedy(model: Model, path: Path) -> Answer:
    """The most likely tokens."""
    made, tokens, found = context(model, path), list[int](), list[NDArray[np.float32]]()
    try:
        assert made.decode([(OURS, 0, PROMPT, 1)]) == OK
        row = len(PROMPT) - 1
        while len(tokens) < ANSWER:
            found.append(logits(made, model, row))
            tokens.append(int(found[-1].argmax()))
            assert made.decode([(OURS, len(PROMPT) + len(tokens) - 1, tokens[-1:], 1)]) == OK
            row = 0
        return Answer(tokens, np.array(found))
    finally:
        made.close()


def deviation(
    made: Context, model: Model, answer: Answer, width: int, beside: Sequence[int] = ()
) -> float:
    """The most that a logit changes by if all is computed in chunks of ``width``.

    ``beside``: sequences that compute a token in each step.
    """
    tokens, found = PROMPT + answer.tokens[:-1], list[NDArray[np.float32]]()
    before = sum(number < OURS for number in beside)
    for step, first in enumerate(range(0, len(tokens), width)):
        chunk = tokens[first : first + width]
        others = [(number, step, BESIDE[step : step + 1], 1) for number in beside]
        assert made.decode(sorted([*others, (OURS, first, chunk, len(chunk))])) == OK
        wanted = range(max(0, len(PROMPT) - 1 - first), len(chunk))
        found += [logits(made, model, before + at) for at in wanted]
    for number in range(SEQUENCES):
        made.drop(number)
    return float(np.abs(np.array(found) - answer.logits).max())


class Wide(StepBudget):
    """Steps of ``width`` tokens, as if that were what the machine and its streams allow."""

    width = BATCH

    def prefill(self, decodes: int, backlog: Backlog, *_: object, **__: object) -> int:
        return max(1, min(self.width, self.batch - decodes))


@dataclass(frozen=True)
class Made:
    name: str
    model: Model
    path: Path
    answer: Answer
    running: Driver
    budget: Wide


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    path: Path = tmp_path_factory.mktemp(request.param) / "model.gguf"
    write(request.param, EMBEDDED_MODEL, path)
    budget = Wide(BATCH)
    with (
        loaded(path) as model,
        driver(model, path, n_ctx=8 * CELLS, batch=BATCH, exact=True, budget=budget) as running,
    ):
        yield Made(request.param, model, path, greedy(model, path), running, budget)


def test_logits_do_not_depend_on_the_shape_of_steps(made: Made) -> None:
    """Not by more than roundings, and no two tokens are so near to each other."""
    worst = 0.0
    for unified, beside, widths in (
        (False, (), (8, 33, 64, 65, BATCH)),
        (False, (0, 2), (33, 65)),
        (True, (0, 2), (65,)),
    ):
        shaped = context(made.model, made.path, unified=unified)
        try:
            for width in widths:
                worst = max(worst, deviation(shaped, made.model, made.answer, width, beside))
        finally:
            shaped.close()
    recurrent = ARCHITECTURES[made.name].recurrent
    assert worst <= (STATE_ROUNDING if recurrent else ROUNDING)
    assert made.answer.nearest > 4 * worst, "a near tie, which a rounding decides"


@pytest.mark.parametrize("beside", [False, True])
def test_an_answer_goes_on_from_any_of_its_tokens(made: Made, beside: bool) -> None:
    """As it does elsewhere after a worker's death."""
    expected, running = made.answer.tokens, made.running
    running.empty()
    for had, width in ((1, 33), (250, 65), (400, 200), (533, BATCH)):
        if beside:
            running.submit(generate(9, Tokens(BESIDE[:50]), max_tokens=ANSWER))
            running.step(5)
        made.budget.width = width
        resumed = generate(
            had, Tokens(PROMPT), max_tokens=ANSWER, resume=tuple(expected[:had]), cache_prompt=False
        )
        (outcome,) = running.run_beside(resumed)
        assert outcome.ids == expected[had:]
        running.cancel(9)
        running.step()


def test_an_answer_goes_on_after_a_pause_and_from_the_cache(made: Made) -> None:
    expected, running = made.answer.tokens, made.running
    running.empty()
    made.budget.width = 33
    request = generate(1, Tokens(PROMPT), max_tokens=ANSWER)
    (outcome,) = running.submit(request)
    while len(outcome.ids) < 300:
        running.step()
    running.park(request.id)
    running.run_beside(generate(2, Tokens(BESIDE[:200]), max_tokens=4))
    running.unpark(request)
    running.run()
    assert outcome.ids == expected
    made.budget.width = 65
    longer = generate(3, Tokens([*PROMPT, *expected[:500]]), max_tokens=ANSWER - 500)
    (again,) = running.run(longer)
    assert again.ids == expected[500:]
    assert again.started is not None
    assert again.started.cached_tokens >= len(PROMPT) - 1


def test_gelu_is_looked_up_by_an_f16(tmp_path: Path) -> None:
    """The same model with gates of the usual size: llama.cpp makes more of a rounding."""
    path = tmp_path / "model.gguf"
    write("gemma3", EMBEDDED_MODEL, path, gates=1.0)
    with loaded(path) as model:
        answer, shaped = greedy(model, path), context(model, path)
        try:
            found = deviation(shaped, model, answer, 65)
        finally:
            shaped.close()
    assert 10 * ROUNDING < found < 1e-2, "docs/architecture/engine.md says so"
