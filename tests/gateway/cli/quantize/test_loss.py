"""The sums of what was lost."""

import math

import pytest

from gateway.cli.quantize import loss
from gateway.cli.quantize.loss import Change
from gateway.model_files.ggml import TYPES
from gateway.model_files.gguf import Tensor
from workers.protocol import Error, Scored

F16, Q8 = TYPES[1], TYPES[8]


def change(name: str, rows: int, absolute: float, squared: float, power: float) -> Change:
    shape = (32, rows)
    error = Error(name, absolute, squared, power)
    return Change(Tensor(name, shape, F16), Tensor(name, shape, Q8), error)


CHANGES = [
    change("token_embd.weight", 1, 3.2, 4.0, 100.0),
    change("blk.0.attn_q.weight", 2, 6.4, 1.0, 4.0),
    change("blk.1.attn_q.weight", 1, 0.0, 0.0, 5.0),
]


def test_of_all() -> None:
    found = loss.of("all", CHANGES)
    assert (found.tensors, found.before, found.after) == (3, 4 * 64, 4 * 34)
    assert found.mean == pytest.approx(9.6 / 128)
    assert found.relative == pytest.approx(math.sqrt(5 / 109))


def test_of_kinds_and_types() -> None:
    names = [each.name for each in loss.by(lambda each: each.kind, CHANGES)]
    assert names == ["token_embd", "attn_q"]
    (only,) = loss.by(lambda each: each.types, CHANGES)
    assert only.name == "F16 → Q8_0"
    same = Change(CHANGES[0].before, CHANGES[0].before, None)
    assert same.types == "F16"


def test_what_can_not_be_compared_is_not_said_to_be_lossless() -> None:
    unknown = Change(CHANGES[0].before, CHANGES[0].after, None)
    found = loss.of("all", [*CHANGES, unknown])
    assert found.mean is None
    assert found.relative is None
    assert loss.of("nothing", []).mean is None


def test_weights_that_are_all_zero() -> None:
    assert loss.of("zero", [change("zero", 1, 0.0, 0.0, 0.0)]).relative == 0.0


def test_the_worst_are_named_and_none_that_lost_nothing() -> None:
    assert [each.name for each in loss.worst(CHANGES, 5)] == [
        "blk.0.attn_q.weight",
        "token_embd.weight",
    ]
    assert len(loss.worst(CHANGES, 1)) == 1


def test_perplexity() -> None:
    assert loss.perplexity(Scored(10, 10 * math.log(7))) == pytest.approx(7)
    assert loss.perplexity(Scored(1, 1e6)) == math.inf
