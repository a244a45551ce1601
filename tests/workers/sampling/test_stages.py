"""The draw of each position, and the chain of a request."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.protocol import SAMPLERS, Dry, Sampling
from workers.sampling.stages import Stage, draw_seed, stages

RANDOM = 0xFFFFFFFF
"""llama.cpp reads this as "take a random seed"."""
SEEDS = st.integers(-(2**63), 2**63 - 1)
MASK = 2**64 - 1


@given(SEEDS, st.integers(0, 2**31))
def test_in_range(seed: int, position: int) -> None:
    assert 0 <= draw_seed(seed, position) < RANDOM


def unshift(z: int, by: int) -> int:
    """The inverse of ``z ^= z >> by`` on 64 bits."""
    result = z
    for _ in range(64 // by + 1):
        result = z ^ (result >> by)
    return result


@pytest.mark.parametrize("high", [0, 1, 0xDEADBEEF])
def test_never_the_random_seed(high: int) -> None:
    """The finaliser can be inverted, so the seeds that would give 0xFFFFFFFF can be named."""
    z = unshift((high << 32) | RANDOM, 31)
    z = unshift(z * pow(0x94D049BB133111EB, -1, 2**64) & MASK, 27)
    z = unshift(z * pow(0xBF58476D1CE4E5B9, -1, 2**64) & MASK, 30)
    seed = (z - 0x632BE59BD9B4E019) * pow(0x9E3779B97F4A7C15, -1, 2**64) & MASK
    assert draw_seed(seed, 0) == RANDOM - 1
    assert draw_seed(seed - 2**64, 0) == RANDOM - 1


def test_depends_on_both() -> None:
    grid = {draw_seed(seed, position) for seed in range(100) for position in range(100)}
    # 10^4 values of 32 bits collide with a chance of about 1 %; these do not.
    assert len(grid) == 10**4
    assert draw_seed(1, 2) != draw_seed(2, 1)
    assert draw_seed(-1, 0) != draw_seed(1, 0)
    assert draw_seed(7, 7) == draw_seed(7, 7)


@pytest.mark.parametrize("seed", [0, 1, 42, -1, 2**63 - 1])
@pytest.mark.parametrize("shift", [0, 14, 28])
def test_well_distributed_over_positions(seed: int, shift: int) -> None:
    """Chi-square over 16 bins of four bits: 15 degrees of freedom, 1e-6 at 56."""
    draws = 4096
    counts = Counter((draw_seed(seed, position) >> shift) & 15 for position in range(draws))
    expected = draws / 16
    assert sum((counts[b] - expected) ** 2 / expected for b in range(16)) < 56


@pytest.mark.parametrize("bit", range(64))
def test_every_bit_of_the_seed_counts(bit: int) -> None:
    changed = [draw_seed(5, n) ^ draw_seed(5 ^ (1 << bit), n) for n in range(64)]
    flips = sum(value.bit_count() for value in changed) / (64 * 32)
    assert 0.4 < flips < 0.6


def test_stages_draw_on_their_own() -> None:
    """XTC and the choice of the token must not be made by the same number."""
    choice = [draw_seed(1, position) for position in range(500)]
    xtc = [draw_seed(1, position, stage=1) for position in range(500)]
    assert not set(choice) & set(xtc)


# ------------------------------------------------------------------ the chain

WINDOW = 2048
DIST, GREEDY = Stage("dist"), Stage("greedy")


def chain(*, ignore_eos: bool = False, **fields: Any) -> list[Stage]:
    return stages(Sampling(seed=1, **fields), ignore_eos=ignore_eos, window=WINDOW)


def names(**fields: Any) -> list[str]:
    return [stage.name for stage in chain(**fields)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"temperature": 1e-6}, [Stage("temp", (1e-6,))]),
        ({"temperature": 0.5}, [Stage("temp", (0.5,))]),
        ({"top_k": 5}, [Stage("top_k", (5,))]),
        ({"top_p": 0.9}, [Stage("top_p", (0.9, 1))]),
        ({"top_p": 0.0}, [Stage("top_p", (0.0, 1))]),
        ({"top_p": 0.9, "min_keep": 7}, [Stage("top_p", (0.9, 7))]),
        ({"min_p": 0.1}, [Stage("min_p", (0.1, 1))]),
        ({"min_p": 0.1, "min_keep": 7}, [Stage("min_p", (0.1, 7))]),
        ({"typical_p": 0.5}, [Stage("min_p", (1e-30, 1)), Stage("typ_p", (0.5, 1))]),
        (
            {"typical_p": 0.5, "min_keep": 7},
            [Stage("min_p", (1e-30, 1)), Stage("typ_p", (0.5, 7))],
        ),
        ({"top_n_sigma": 1.5}, [Stage("top_n_sigma", (1.5,))]),
        ({"top_n_sigma": 1e-300}, [Stage("top_n_sigma", (1e-6,))]),
        ({"xtc_probability": 0.5}, [Stage("xtc", (0.5, 0.1, 1))]),
        (
            {"xtc_probability": 0.5, "xtc_threshold": 0.5, "min_keep": 7},
            [Stage("xtc", (0.5, 0.5, 7))],
        ),
        ({"xtc_probability": 0.5, "xtc_threshold": 0.51}, []),
        ({"dynatemp_range": 0.25}, [Stage("temp_ext", (1.0, 0.25, 1.0))]),
        ({"temperature": 2.0, "dynatemp_range": 0.5}, [Stage("temp_ext", (2.0, 0.5, 1.0))]),
        ({"dynatemp_range": 0.25, "dynatemp_exponent": 2.0}, [Stage("temp_ext", (1.0, 0.25, 2.0))]),
        ({"dynatemp_range": 1e-9}, []),
        ({"dry": Dry(0.8)}, [Stage("dry")]),
        ({"logit_bias": [(5, 1.0)]}, [Stage("logit_bias")]),
        ({"ignore_eos": True}, [Stage("ban_eog")]),
        ({"repeat_penalty": 1.1}, [Stage("penalties", (64, 1.1, 0.0, 0.0))]),
        ({"repeat_penalty": 1e-300}, [Stage("penalties", (64, 1e-6, 0.0, 0.0))]),
        ({"repeat_penalty": 1.1, "repeat_last_n": 0}, []),
        ({"repeat_penalty": 1.1, "repeat_last_n": -1}, [Stage("penalties", (WINDOW, 1.1, 0, 0))]),
        (
            {"repeat_penalty": 1.1, "repeat_last_n": 2**31 - 1},
            [Stage("penalties", (WINDOW, 1.1, 0.0, 0.0))],
        ),
        ({"presence_penalty": 0.5}, [Stage("penalties", (WINDOW, 1.0, 0.0, 0.5))]),
        (
            {"presence_penalty": 0.5, "repeat_last_n": 8},
            [Stage("penalties", (8, 1.0, 0.0, 0.5))],
        ),
        ({"presence_penalty": 0.5, "repeat_last_n": 0}, []),
        ({"frequency_penalty": -1.0}, [Stage("penalties", (WINDOW, 1.0, -1.0, 0.0))]),
        (
            {"repeat_penalty": 1.1, "presence_penalty": 0.5},
            [Stage("penalties", (64, 1.1, 0.0, 0.0)), Stage("penalties", (WINDOW, 1.0, 0.0, 0.5))],
        ),
        (
            {"repeat_penalty": 1.1, "presence_penalty": 0.5, "repeat_last_n": 9},
            [Stage("penalties", (9, 1.1, 0.0, 0.5))],
        ),
    ],
)
def test_stages(fields: dict[str, Any], expected: list[Stage]) -> None:
    assert chain(**fields) == [*expected, DIST]


@pytest.mark.parametrize("temperature", [0.0, 1e-40])
@pytest.mark.parametrize(
    "fields", [{}, {"top_k": 5, "top_p": 0.5, "min_p": 0.1, "top_n_sigma": 1.0}]
)
def test_greedy_needs_no_cut(fields: dict[str, Any], temperature: float) -> None:
    assert chain(temperature=temperature, **fields) == [GREEDY]


def test_greedy_of_what_others_leave() -> None:
    """These may take the likeliest token away; what stands before them changes what they see."""
    assert names(temperature=0.0, ignore_eos=True, repeat_penalty=2.0, dry=Dry(1.0)) == [
        "ban_eog",
        "penalties",
        "dry",
        "greedy",
    ]
    assert names(temperature=0.0, top_k=5, min_p=0.1, xtc_probability=1.0) == [
        "top_k",
        "min_p",
        "xtc",
        "greedy",
    ]
    typical = names(temperature=0.0, top_k=5, typical_p=0.5, min_p=0.1)
    assert typical == ["top_k", "min_p", "typ_p", "greedy"]


def test_a_range_makes_temperature_0_warm() -> None:
    low, high = 1e-3, 0.5
    (stage, last) = chain(temperature=0.0, dynatemp_range=high)
    assert last == DIST
    middle, reach, _ = stage.arguments
    assert (middle - reach, middle + reach) == pytest.approx((low, high))


EVERYTHING: dict[str, Any] = {
    "ignore_eos": True,
    "logit_bias": [(5, -1.0)],
    "repeat_penalty": 1.1,
    "presence_penalty": 0.5,
    "repeat_last_n": 32,
    "dry": Dry(0.8),
    "top_n_sigma": 2.0,
    "top_k": 40,
    "typical_p": 0.9,
    "top_p": 0.9,
    "min_p": 0.1,
    "xtc_probability": 0.5,
    "temperature": 0.7,
}
BIASES = ["ban_eog", "logit_bias"]


def test_order_is_that_of_llama_server() -> None:
    usual = ["penalties", "dry", "top_n_sigma", "top_k", "min_p", "typ_p", "top_p", "min_p", "xtc"]
    assert names(**EVERYTHING) == [*BIASES, *usual, "temp", "dist"]
    assert names(**EVERYTHING, samplers=list(SAMPLERS)) == names(**EVERYTHING)


@given(st.lists(st.sampled_from(SAMPLERS), unique=True))
def test_order_as_asked(order: list[str]) -> None:
    """Each name stands for one stage (typ_p: two); what is not named is not used."""
    own = {"typ_p": ["min_p", "typ_p"], "temperature": ["temp"]}
    expected = [stage for name in order for stage in own.get(name, [name])]
    assert names(**EVERYTHING, samplers=order) == [*BIASES, *expected, "dist"]


def test_greedy_only_where_temperature_is_used() -> None:
    assert names(temperature=0.0, samplers=[]) == ["dist"]
    assert names(temperature=0.0, top_k=2, samplers=["top_k"]) == ["top_k", "dist"]
    after = names(temperature=0.0, repeat_penalty=2.0, samplers=["temperature", "penalties"])
    assert after == ["greedy"]
