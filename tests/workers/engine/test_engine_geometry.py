"""Sequences of all lengths in one context: cells are divided as they need it, and no text changes.

Eight slots and 4,096 cells: streams of 512.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_driver import Driver, Outcome, driver, generate
from tests.workers.engine.test_engine_sharing import cached, same
from workers.engine.scheduler import CALM
from workers.llama import Model
from workers.planning.geometry import Geometry, Unified
from workers.protocol import Generate, Sampling, Tokens

BASE = Geometry(8, 512, unified=False)
UNIFIED = Geometry(8, 4096, unified=True)
TWO = Geometry(2, 2048, unified=False)


class Recorder:
    """A driver whose divisions of cells are written down."""

    def __init__(self, made: Driver, patch: pytest.MonkeyPatch) -> None:
        self.made = made
        self.divisions: list[Geometry] = []
        reshape = made.kv.reshape

        def recorded(geometry: Geometry) -> None:
            lengths = [s.computed for s in made.engine.scheduler.running]
            reshape(geometry)
            assert [s.computed for s in made.engine.scheduler.running] == lengths
            self.divisions.append(geometry)

        patch.setattr(made.kv, "reshape", recorded)

    def alone(self, requests: list[Generate]) -> list[Outcome]:
        found = [self.made.alone(request) for request in requests]
        self.settle()
        self.divisions.clear()
        return found

    def settle(self) -> None:
        """Back to the base: short ones, for as long as it takes."""
        while self.made.kv.geometry != self.made.kv.geometries.base:
            self.made.alone(generate(999, "a", max_tokens=CALM + 2))


@pytest.fixture(params=["auto", "off", "on"])
def unified(request: pytest.FixtureRequest) -> Unified:
    found: Unified = request.param
    return found


@pytest.fixture
def made(
    f32_model: Model, f32_path: Path, unified: Unified, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recorder]:
    with driver(f32_model, f32_path, n_ctx=4096, batch=256, exact=True, unified=unified) as running:
        assert running.kv.geometry == (UNIFIED if unified == "on" else BASE)
        yield Recorder(running, monkeypatch)


auto = pytest.mark.parametrize("unified", ["auto"], indirect=True)
streams = pytest.mark.parametrize("unified", ["auto", "off"], indirect=True)


def tokens(seed: int, size: int) -> Tokens:
    """Of no meaning; no two begin alike."""
    return Tokens([300 + (seed * 7919 + n * (n + seed)) % 1500 for n in range(size)])


def request(id_: int, size: int, max_tokens: int) -> Generate:
    """Half of them greedy."""
    return generate(
        id_, tokens(id_, size), sampling=Sampling(id_, id_ % 2 * 1.0), max_tokens=max_tokens
    )


def all_same(alone: list[Outcome], found: list[Outcome]) -> None:
    for a, b in zip(alone, found, strict=True):
        same(a, b)


def test_a_long_one_among_short_ones(made: Recorder, unified: Unified) -> None:
    """It comes while they run, and longer ones than a stream were never refused."""
    short = [request(n, 30 + 10 * n, 40) for n in range(1, 6)]
    long = request(9, 1500, 20)
    alone = made.alone([*short, long])
    outcomes = made.made.submit(*short)
    made.made.step(8)
    outcomes += made.made.run(long)
    all_same(alone, outcomes)
    first = {"auto": [UNIFIED], "off": [TWO], "on": []}[unified]
    assert made.divisions[:1] == first


def test_an_answer_that_outgrows_its_cells(made: Recorder, unified: Unified) -> None:
    """By little, and while others run."""
    short = [request(n, 40, 60) for n in range(1, 4)]
    long = request(9, 350, 200)
    alone = made.alone([*short, long])
    all_same(alone, made.made.run(*short, long))
    assert len(alone[-1].ids) == 200
    assert bool(made.divisions) == (unified != "on")


@streams
def test_back_to_the_base_after_calm_steps(made: Recorder) -> None:
    """Not at once: a chat's next long turn would change it again."""
    made.made.run(request(1, 1100, 4))
    assert made.divisions == [TWO]
    (outcome,) = made.made.submit(request(2, 20, CALM + 30))
    while len(made.divisions) < 2:
        made.made.step()
        assert not outcome.ended
    assert made.divisions == [TWO, BASE]
    assert CALM - 2 <= len(outcome.ids) <= CALM + 2
    made.made.run()
    same(outcome, made.made.alone(request(2, 20, CALM + 30)))


@streams
def test_several_long_ones_at_once(made: Recorder) -> None:
    """More than fit together: some wait, all are served."""
    requests = [request(n, size, 8) for n, size in enumerate((1100, 600, 40, 700), 1)]
    alone = made.alone(requests)
    all_same(alone, made.made.run(*requests))
    assert made.divisions


@auto
def test_streams_again_when_they_hold_as_many(made: Recorder) -> None:
    """In cells in common only as long as that pays."""
    short = [request(n, 30, CALM + 40) for n in (1, 2, 3, 4)]
    long = request(9, 800, 3)
    alone = made.alone([*short, long])
    all_same(alone, made.made.run(*short, long))
    assert made.divisions == [UNIFIED, BASE]


@streams
def test_moderate_lengths_do_not_change_it_at_each_step(made: Recorder) -> None:
    """A division costs as much as ten steps; each change has a reason that lasts."""
    requests = [request(n, 150 + 40 * n, 50) for n in range(1, 9)]
    alone = made.alone(requests)
    before = made.made.engine.reporter.steps
    for n, each in enumerate(requests):
        made.made.submit(each)
        made.made.step(10 + n)
    made.made.run()
    all_same(alone, [made.made.outcomes[each.id] for each in requests])
    steps = made.made.engine.reporter.steps - before
    assert len(made.divisions) <= 2 + 2 * steps // CALM


@streams
@pytest.mark.parametrize("leaves", ["parked", "cancelled"])
def test_some_leave_while_cells_are_divided(made: Recorder, leaves: str) -> None:
    short = [request(n, 40, 60) for n in range(1, 5)]
    long = request(9, 700, 10)
    alone = made.alone([*short, long])
    outcomes = made.made.submit(*short)
    made.made.step(6)
    outcomes += made.made.submit(long)
    for id_ in (1, 9):
        getattr(made.made, {"parked": "park", "cancelled": "cancel"}[leaves])(id_)
        made.made.step(2)
    while not all(outcome.ended for outcome in outcomes[1:4]):
        made.made.step()
    if leaves == "cancelled":
        made.made.run()
        assert [outcomes[0].reason, outcomes[4].reason] == ["cancelled"] * 2
        all_same(alone[1:4], outcomes[1:4])
        return
    before = made.made.engine.reporter.prefilled
    computed = outcomes[0].started is not None
    for parked in (short[0], long):
        made.made.unpark(parked)
        made.made.step(2)
    made.made.run()
    for a, b in zip(alone, outcomes, strict=True):
        assert (a.ids, a.text) == (b.ids, b.text)
    assert computed
    computed_again = made.made.engine.reporter.prefilled - before
    assert computed_again <= 700, "the short one's prompt was computed again"


def test_a_system_prompt_from_a_long_chat(made: Recorder, unified: Unified) -> None:
    """A snapshot longer than a stream serves no stream; its next turn finds it all the same."""
    chat = tokens(1, 1000).ids
    question = generate(2, Tokens([*chat[:200], 400, 401]), max_tokens=10)
    turn = generate(3, Tokens([*chat, 400, 401]), max_tokens=10)
    alone = made.alone([question, turn])
    made.made.run(generate(1, Tokens(chat), max_tokens=2))
    made.made.run(generate(4, tokens(7, 20), max_tokens=2 * CALM))
    assert made.made.kv.geometry == (UNIFIED if unified == "on" else BASE)
    found = made.made.run(question)
    assert cached(found[0]) == (200 if unified == "on" else 0)
    found += made.made.run(turn)
    assert cached(found[1]) == len(chat)
    all_same(alone, found)


@streams
def test_holes_are_filled(made: Recorder) -> None:
    """Of eight some end early: the others stay packed, and say what they say alone."""
    requests = [request(n, 20 + 3 * n, 60 if n % 3 else 8 + n) for n in range(8)]
    alone = made.alone(requests)
    outcomes = made.made.submit(*requests)
    decode, seen, moved = made.made.context.decode, set[int](), 0
    numbers: dict[int, int] = {}

    def packed(chunks: list[tuple[int, int, list[int], int]]) -> int:
        nonlocal moved
        found = [number for number, *_ in chunks]
        assert found == list(range(len(found))), "a hole in the batch"
        seen.add(len(found))
        for sequence in made.made.engine.scheduler.running:
            assert sequence.resident is not None
            now = sequence.resident.number
            moved += numbers.setdefault(sequence.request.id, now) != now
            numbers[sequence.request.id] = now
        return decode(chunks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.made.context, "decode", packed)
        made.made.run()
    assert seen >= {8, 5}
    assert moved >= 2
    all_same(alone, outcomes)
