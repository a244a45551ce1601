"""Probabilities of tokens, held against llama.cpp's logits, one by one."""

import math
from collections import abc

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.engine_driver import Driver, Outcome
from workers.protocol import Generate, Logprob, Sampling

PROMPT = "Once upon a time there was a little"
SEEDED = Sampling(seed=5, temperature=1.3, top_p=0.9, repeat_penalty=1.3)
CLOSE = 1e-4
"""Rows of F32 logits agree to 2e-6, whatever the batch."""


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
