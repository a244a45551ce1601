"""The plan of forge tune, and its judgement of the results."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.tune.command import start
from gateway.cli.tune.plan import (
    Result,
    Setting,
    Visit,
    caches,
    crowds,
    enough_slots,
    fastest,
    lossy,
    shapes,
    survivors,
)
from gateway.config.config import Config

BASE = Setting(workers=2, threads=1, slots=8, repack=True)
NONE = frozenset[str]()


def result(setting: Setting, *outputs: float, failure: str | None = None) -> Result:
    visits = [Visit(output=output, alone=1.0, memory=1, cells=64) for output in outputs]
    return Result(setting, visits, failure)


def with_slots(slots: int, output: float) -> Result:
    return result(replace(BASE, slots=slots), output, output)


# ------------------------------------------------------------------ what is measured


@given(st.integers(1, 256), st.sets(st.sampled_from(["threads", "workers", "slots", "repack"])))
def test_shapes_fit_the_machine(cores: int, fixed: set[str]) -> None:
    base, _ = start(Config(), cores)
    found = shapes(base, frozenset(fixed), cores)
    assert found[0] == base, "the cheap rule comes first"
    assert len(set(found)) == len(found)
    assert len(found) <= 12
    for setting in found:
        assert 1 <= setting.workers * setting.threads <= cores
        assert all(getattr(setting, name) == getattr(base, name) for name in fixed)
        if "slots" not in fixed:
            total = setting.workers * setting.slots
            assert base.workers * base.slots <= total or setting.slots == 128
    assert {setting.repack for setting in found} == ({True} if "repack" in fixed else {True, False})


def test_one_worker_with_all_cores_is_looked_at() -> None:
    assert Setting(1, 2, 16, repack=False) in shapes(BASE, NONE, 2)


def test_caches_change_one_thing() -> None:
    found = caches(BASE, NONE)
    assert found[0] == BASE
    assert [(s.flash_attn, s.cache_type_k, s.cache_type_v) for s in found[1:]] == [
        ("off", "f16", "f16"),
        ("auto", "f32", "f32"),
        ("auto", "q8_0", "q8_0"),
    ]
    assert caches(BASE, frozenset({"flash_attn", "cache_type_v"})) == [BASE]


def test_crowds_keep_the_cells() -> None:
    found = crowds(BASE, NONE, 4096)
    assert [s.slots for s in found] == [8, 4, 16, 32]
    assert [s.ctx for s in found] == [None, 4096, 4096, 4096]
    assert [s.slots for s in crowds(replace(BASE, slots=1), NONE, 64)] == [1, 2, 4]
    assert [s.slots for s in crowds(replace(BASE, slots=128), NONE, 64)] == [128, 64]
    assert crowds(BASE, frozenset({"slots"}), 64) == [BASE]


# ------------------------------------------------------------------ what is chosen


def test_medians_count() -> None:
    noisy = result(BASE, 1.0, 100.0, 101.0)
    assert noisy.output == 100.0
    assert noisy.stream == 100.0 / 16
    assert noisy.spread == 1.0


@pytest.mark.parametrize(("output", "index"), [(104.0, 0), (106.0, 1), (50.0, 0)])
def test_the_incumbent_stays_unless_a_change_is_worth_it(output: float, index: int) -> None:
    results = [result(BASE, 100.0, 100.0), result(replace(BASE, repack=False), output, output)]
    assert fastest(results) is results[index]


@pytest.mark.parametrize(("output", "index"), [(125.0, 0), (127.0, 1)])
def test_one_look_must_show_more(output: float, index: int) -> None:
    other = replace(BASE, repack=False)
    results = [result(BASE, 100.0), result(other, output, output), result(other, failure="died")]
    assert fastest(results) is results[index]
    few = [result(BASE, 100.0), result(replace(BASE, slots=4), output - 10)]
    assert enough_slots(few) is few[index]


def test_what_failed_is_not_chosen() -> None:
    results = [
        result(BASE, failure="no memory"),
        result(replace(BASE, repack=False), 500.0, failure="died in its second turn"),
        result(replace(BASE, workers=1), 1.0),
    ]
    assert fastest(results) is results[2]
    assert survivors(results) == [results[2]]


def test_quality_is_only_given_away_when_allowed() -> None:
    quantised = replace(BASE, cache_type_k="q8_0", cache_type_v="q8_0")
    exact = replace(BASE, cache_type_k="f32", cache_type_v="f32")
    results = [result(BASE, 100.0), result(exact, 130.0), result(quantised, 200.0)]
    assert fastest(results) is results[1]
    assert fastest(results, allow_lossy=True) is results[2]
    assert not lossy(quantised, quantised), "who serves with it has given it away already"
    assert lossy(replace(BASE, cache_type_v="q4_0"), quantised)


def test_what_is_far_behind_is_left_out_but_never_the_incumbent() -> None:
    results = [result(BASE, 10.0), *(with_slots(n, 100.0 - 10 * n) for n in (0, 1, 2))]
    assert survivors(results) == [results[0], results[1], results[2]]


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        ({8: 100, 4: 96, 16: 109, 32: 120}, 8),
        ({8: 100, 4: 98, 16: 150, 32: 200}, 4),
        ({8: 100, 4: 90, 16: 111, 32: 112}, 16),
        ({8: 100, 4: 90, 16: 111, 32: 123}, 32),
        ({8: 100, 4: 90, 16: 105, 32: 122}, 32),
    ],
)
def test_slots_must_be_worth_their_price(outputs: dict[int, float], chosen: int) -> None:
    """Each stream gets half of the speed with twice the slots."""
    results = [with_slots(slots, output) for slots, output in outputs.items()]
    assert enough_slots(results).setting.slots == chosen
