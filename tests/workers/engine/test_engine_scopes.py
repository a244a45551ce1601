"""Prompts are computed once for each scope: what one has computed spares another nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import msgspec
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import write
from tests.support.engine_driver import Driver, driver, embed, generate, loaded, with_params
from tests.workers.engine.test_engine_sharing import LONG, cached, load, same, size, waiting
from workers.llama import Model
from workers.protocol import Generate, JsonSchema, Load, Sampling, Step, Tokens


@pytest.fixture(params=["on", "off"], ids="unified-{}".format)
def roomy(request: pytest.FixtureRequest, f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """Room for four prompts, in cells that all share or in those of each."""
    with driver(f32_model, f32_path, n_ctx=4096, exact=True, unified=request.param) as made:
        assert made.kv.geometry.unified == (request.param == "on")
        yield made


@pytest.fixture
def mamba(tmp_path: Path) -> Iterator[Driver]:
    """A model whose memory can't be cut."""
    path = tmp_path / "mamba.gguf"
    write("mamba", EMBEDDED_MODEL, path)
    with loaded(path) as model, driver(model, path, n_ctx=2048, exact=True) as made:
        assert not model.can_cut
        yield made


@pytest.fixture
def tight(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """512 cells: a second prompt drives the first one into host memory."""
    with driver(f32_model, f32_path, n_ctx=512, exact=True) as made:
        yield made


def of(scope: str, request: Generate) -> Generate:
    return msgspec.structs.replace(request, cache_scope=scope)


def prefilled(made: Driver) -> int:
    return load(made)[0]


def test_what_ended_is_cached_within_its_scope(roomy: Driver) -> None:
    """The text is the same in each, and is that of the prompt alone."""
    request, tokens = generate(1, LONG, sampling=Sampling(7, 1.0)), size(roomy, LONG)
    alone = roomy.alone(request)
    spared = []
    for scope in ("mine", "yours", "", "mine", "yours", ""):
        before = prefilled(roomy)
        (outcome,) = roomy.run(of(scope, request))
        same(outcome, alone)
        assert prefilled(roomy) - before == tokens - cached(outcome), "all the rest is computed"
        spared.append(cached(outcome))
    assert spared == [0] * 3 + [tokens - 1] * 3


def test_what_lost_its_cells_comes_back_within_its_scope(tight: Driver) -> None:
    tokens = size(tight, LONG)
    (first,) = tight.run(of("mine", generate(1, LONG)))
    (other,) = tight.run(of("yours", generate(2, LONG)))
    (third,) = tight.run(of("yours", generate(3, f"The king. {LONG}")))
    (again,) = tight.run(of("mine", generate(4, LONG)))
    assert cached(first) == cached(other) == 0
    assert cached(third) <= 1, "what every prompt begins with"
    assert cached(again) >= tokens // 64 * 64 - 1


def test_running_sequences_lend_within_their_scope(roomy: Driver) -> None:
    tokens = size(roomy, LONG)
    roomy.submit(of("mine", generate(1, LONG, max_tokens=100)))
    roomy.step(8)
    theirs, ours = roomy.run_beside(of("yours", generate(2, LONG)), of("mine", generate(3, LONG)))
    assert (cached(theirs), cached(ours)) == (0, tokens - 1)
    roomy.run()


def test_none_waits_for_another_scopes_prompt(roomy: Driver) -> None:
    """It would begin late, and so know that there is one."""
    tokens = size(roomy, LONG)
    roomy.submit(of("mine", generate(1, LONG)))
    roomy.step()
    theirs, ours = roomy.submit(of("yours", generate(2, LONG)), of("mine", generate(3, LONG)))
    roomy.step()
    assert waiting(roomy) == [3]
    assert (cached(theirs), ours.started) == (0, None)
    roomy.run()
    assert cached(ours) == tokens - 1


def test_completions_share_their_prompt_within_a_scope(roomy: Driver) -> None:
    """Two requests of two completions each, at once."""
    tokens = size(roomy, LONG)
    requests = [generate(n, LONG, sampling=Sampling(n, 1.0)) for n in range(4)]
    alone = [roomy.alone(request) for request in requests]
    scoped = [of("mine" if n < 2 else "yours", each) for n, each in enumerate(requests)]
    together = roomy.run(*scoped)
    assert [cached(each) for each in together] == [0, tokens - 1] * 2
    for expected, outcome in zip(alone, together, strict=True):
        same(outcome, expected)


def test_a_parked_generation_lends_within_its_scope_and_goes_on(roomy: Driver) -> None:
    request, tokens = of("mine", generate(1, LONG)), size(roomy, LONG)
    alone = roomy.alone(request)
    (outcome,) = roomy.submit(request)
    roomy.step(8)
    roomy.park(1)
    theirs, ours = roomy.run_beside(of("yours", generate(2, LONG)), of("mine", generate(3, LONG)))
    assert (cached(theirs), cached(ours)) == (0, tokens - 1)
    before = prefilled(roomy)
    roomy.unpark(request)
    roomy.run()
    same(outcome, alone)
    assert prefilled(roomy) - before <= 1, "nothing is computed again"


def test_one_that_comes_from_a_dead_worker_finds_its_own_scope_alone(roomy: Driver) -> None:
    request, tokens = generate(1, LONG), size(roomy, LONG)
    alone = roomy.alone(request)
    roomy.run(of("yours", generate(2, LONG)))
    spared = []
    for id_ in (3, 4):
        resumed = of("mine", generate(id_, LONG, resume=tuple(alone.ids[:5]), attempt=2))
        (outcome,) = roomy.run(resumed)
        assert outcome.ids == alone.ids[5:]
        spared.append(cached(outcome))
    assert spared == [0, tokens]


def test_a_chat_of_one_scope_does_not_take_the_place_of_anothers(roomy: Driver) -> None:
    """A longer text makes a shorter one needless that it goes on from: its own scope's."""
    longer = f"{LONG} The cat and the dog played with a ball in the park."
    roomy.run(of("mine", generate(1, LONG)))
    roomy.run(of("yours", generate(2, longer)))
    (again,) = roomy.run(of("mine", generate(3, longer)))
    assert cached(again) == size(roomy, LONG)


def test_states_that_can_not_be_cut_are_apart_too(mamba: Driver) -> None:
    """A chat's next turn in three scopes, and its first turn again."""
    ids = mamba.input_processor._model.tokenize(LONG)
    (first,) = mamba.run(of("mine", generate(1, Tokens(ids))))
    turn = [*ids, *first.ids, 5, 6, 7]
    spared = {}
    for scope in ("", "yours", "mine"):
        (again,) = mamba.run(of(scope, generate(2, Tokens(ids))))
        (outcome,) = mamba.run(of(scope, generate(3, Tokens(turn))))
        spared[scope] = cached(again), cached(outcome)
    goes_on = len(turn) - 4
    assert spared == {"": (0, goes_on), "yours": (0, goes_on), "mine": (len(ids) - 1, goes_on)}


def test_vectors_are_cached_by_none(roomy: Driver) -> None:
    roomy.run(of("mine", generate(1, LONG)))
    for id_ in (2, 3):
        (outcome,) = roomy.run(of("mine", embed(id_, LONG)))
        assert cached(outcome) == 0


def test_a_schema_is_compiled_for_each_scope(roomy: Driver) -> None:
    request = with_params(generate(1, LONG), constraint=JsonSchema({"const": 12345}))
    kept = roomy.input_processor._guides._compiler._kept
    for id_, scope in enumerate(("mine", "yours", "mine")):
        roomy.run(of(scope, msgspec.structs.replace(request, id=id_)))
    assert sorted(scope for scope, _ in kept) == ["mine", "yours"]


# ------------------------------------------------------------------ whatever another scope says

SECRET = list(range(300, 460))
"""Tokens of a prompt that an attacker guesses."""
GUESSES = (SECRET[:40], SECRET[:100], SECRET, [*SECRET, *range(600, 640)])
MOMENTS = {"ended": 100, "waiting": 0, "computing": 1, "running": 6, "parked": 6}
"""States of the victim when the guesses begin, and the steps that lead there."""
ANSWER = 30
"""Tokens that it samples."""


SHAPES = {"streams": (4096, "off", 64), "tight": (256, "auto", 1)}
"""With plenty of room, and with too little for all prompts and for their states."""
Fresh = Callable[[], AbstractContextManager[Driver]]


@pytest.fixture(params=SHAPES)
def fresh(request: pytest.FixtureRequest, f32_model: Model, f32_path: Path) -> Fresh:
    """Make an engine."""
    n_ctx, unified, mib = SHAPES[request.param]
    with_room = partial(driver, f32_model, f32_path, n_ctx=n_ctx, cache_bytes=mib << 20)
    return partial(with_room, exact=True, unified=unified)


def seen(fresh: Fresh, moment: str, scope: str, prompt: list[int]) -> list[object]:
    """Return all that a client sees of its own requests, and of a worker's load, step by step.

    A request of ``scope`` with ``prompt`` was there before.
    """
    victim = of(scope, generate(1, Tokens(prompt), max_tokens=ANSWER))
    with fresh() as made:
        (outcome,) = made.submit(victim)
        for _ in range(MOMENTS[moment]):
            if made.busy:
                made.step()
        assert outcome.ended == (moment == "ended")
        if moment == "parked":
            made.park(victim.id)
        begin = len(made.sent)
        for id_, guess in enumerate(GUESSES, start=10):
            made.run_beside(of("mine", generate(id_, Tokens(guess), max_tokens=4)))
        steps = made.sent[begin:]
        if moment == "parked":
            made.unpark(victim)
        made.run()
        assert len(outcome.ids) == ANSWER
    return [(_without_time(step), [e for e in step.events if e.id >= 10]) for step in steps]


def _without_time(step: Step) -> Load | None:
    return None if step.load is None else msgspec.structs.replace(step.load, step_ms=0.0)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_sees_the_same_whatever_another_scope_says(fresh: Fresh, moment: str) -> None:
    """In which step which event comes, with which counts, and what the worker's load is."""
    guessed = seen(fresh, moment, "yours", SECRET)
    assert guessed == seen(fresh, moment, "yours", SECRET[::-1])
    assert len(guessed) > len(GUESSES)


@pytest.mark.parametrize("fresh", ["streams"], indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_sees_what_its_own_scope_says(fresh: Fresh, moment: str) -> None:
    guessed = seen(fresh, moment, "mine", SECRET)
    assert guessed != seen(fresh, moment, "mine", SECRET[::-1])
