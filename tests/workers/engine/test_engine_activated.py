"""Activated adapters (aLoRA): they count from their invocation on, and share what stands before."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support import architectures
from tests.support.adapters import adapter_file, random_lora
from tests.support.engine_driver import Driver, Outcome, driver, generate, loaded
from tests.support.f32 import f32_copy
from workers.llama import OK, Model
from workers.protocol import NO_ADAPTERS, AdapterSet, Generate, Tokens

A: AdapterSet = (("a", 1.0),)
INVOCATION = [700, 701]
BEFORE = [*range(500, 600)]
PROMPT = [*BEFORE, *INVOCATION, 610, 611]
LENGTH = 20


class House(NamedTuple):
    path: Path
    model: Model


@pytest.fixture(scope="module", params=["llama", "mamba"])
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A model, also one whose memory can't be cut, with an activated adapter and a usual one."""
    folder = tmp_path_factory.mktemp("activated")
    path = folder / "base.gguf"
    tensors: tuple[str, ...] = ("attn_q.weight", "attn_v.weight", "ffn_down.weight")
    if request.param == "mamba":
        architectures.write("mamba", EMBEDDED_MODEL, path)
        tensors = ("ssm_in.weight", "ssm_out.weight")
    else:
        f32_copy(EMBEDDED_MODEL, path)
    invocation = {"adapter.alora.invocation_tokens": INVOCATION}
    activated = random_lora(path, 1, tensors=tensors, metadata=invocation)
    usual = random_lora(path, 1, tensors=tensors)
    with loaded(path) as model:
        model.adapters.load(adapter_file(activated.write(folder / "a.gguf")))
        model.adapters.load(adapter_file(usual.write(folder / "b.gguf")))
        model.adapters.load(
            adapter_file(random_lora(path, 1, tensors=tensors).write(folder / "b.gguf"))
        )
        yield House(path, model)


@pytest.fixture
def made(house: House) -> Iterator[Driver]:
    with driver(house.model, house.path, n_ctx=2048, exact=True) as made:
        yield made


def asking(id_: int, prompt: list[int], adapters: AdapterSet = A) -> Generate:
    return generate(id_, Tokens(prompt), max_tokens=LENGTH, adapters=adapters)


def cached(outcome: Outcome) -> int:
    assert outcome.started is not None
    return outcome.started.cached_tokens


def by_hand(made: Driver, prompt: list[int], start: int) -> list[int]:
    """The greedy answer, computed token by token: without the adapter before ``start``."""
    context, answer = made.context, list[int]()
    context.drop(0)
    for at in range(len(prompt) + LENGTH - 1):
        token = [*prompt, *answer][at]
        context.adapt(A if at >= start else NO_ADAPTERS)
        assert context.decode([(0, at, [token], 1)]) == OK
        if at >= len(prompt) - 1:
            logits = context.logits(0)
            logits[list(made.input_processor._model.eog)] = -np.inf
            answer.append(int(logits.argmax()))
    context.drop(0)
    return answer


def test_it_counts_from_its_invocation_on(made: Driver) -> None:
    start = len(BEFORE)
    expected = by_hand(made, PROMPT, start)
    assert made.alone(asking(1, PROMPT)).ids == expected
    assert by_hand(made, PROMPT, 0) != expected, "as a usual adapter it says something else"
    assert made.alone(asking(2, PROMPT, (("b", 1.0),))).ids == by_hand(made, PROMPT, 0)


def test_without_its_invocation_it_does_not_count(made: Driver) -> None:
    base = made.alone(asking(1, BEFORE, NO_ADAPTERS))
    assert made.alone(asking(2, BEFORE)).ids == base.ids


def test_it_shares_what_stands_before_with_its_base(made: Driver) -> None:
    """In both directions, and with a later invocation, too."""
    expected = by_hand(made, PROMPT, len(BEFORE))
    base = made.alone(asking(1, PROMPT, NO_ADAPTERS)).ids
    made.run(asking(2, [*BEFORE, 613, 614], NO_ADAPTERS))
    (first,) = made.run(asking(3, PROMPT))
    assert first.ids == expected
    if made.input_processor._model.can_cut:
        assert cached(first) == len(BEFORE)
    made.empty()
    (alone,) = made.run(asking(4, PROMPT))
    assert (alone.ids, cached(alone)) == (expected, 0)
    (other,) = made.run(asking(5, PROMPT, NO_ADAPTERS))
    assert (other.ids, cached(other)) == (base, len(BEFORE))
    (again,) = made.run(asking(6, PROMPT))
    assert (again.ids, cached(again)) == (expected, len(PROMPT) - 1)


def test_a_later_invocation_computes_the_earlier_one_without_it(made: Driver) -> None:
    """Cells that the adapter computed after an earlier invocation are none of the later one's."""
    made.run(asking(1, PROMPT))
    longer = [*PROMPT, *BEFORE[:40], *INVOCATION, 615]
    (found,) = made.run(asking(2, longer))
    assert cached(found) == len(BEFORE)
    assert found.ids == by_hand(made, longer, len(longer) - 3)


def test_parked_before_and_after_its_invocation(made: Driver) -> None:
    expected = made.alone(asking(1, PROMPT)).ids
    base = made.alone(asking(2, PROMPT, NO_ADAPTERS)).ids
    for steps in range(5):
        made.empty()
        request = asking(10 + steps, PROMPT)
        (outcome,) = made.submit(request)
        (beside,) = made.submit(asking(20 + steps, PROMPT, NO_ADAPTERS))
        made.step(steps)
        made.park(10 + steps)
        made.step()
        made.unpark(request)
        made.run()
        assert outcome.ids == expected
        assert beside.ids == base


def test_at_the_beginning_it_counts_all_along(made: Driver) -> None:
    prompt = [*INVOCATION, *BEFORE]
    assert made.alone(asking(1, prompt)).ids == by_hand(made, prompt, 0)
