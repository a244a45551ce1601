"""The draw of each position, and the chain of a request."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.protocol import Sampling
from workers.sampler import Stage, draw_seed, stages

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


# ------------------------------------------------------------------ the chain


def chain(*, ignore_eos: bool = False, **fields: float) -> list[Stage]:
    return stages(Sampling(seed=1, **fields), ignore_eos=ignore_eos, window=2048)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"temperature": 0.0}, [Stage("greedy", ())]),
        ({"temperature": 0.0, "top_k": 5, "top_p": 0.5, "min_p": 0.1}, [Stage("greedy", ())]),
        ({"temperature": 1e-40}, [Stage("greedy", ())]),
        ({"temperature": 1e-6}, [Stage("temp", (1e-6,))]),
        ({"temperature": 0.5}, [Stage("temp", (0.5,))]),
        ({"top_k": 5}, [Stage("top_k", (5.0,))]),
        ({"top_p": 0.9}, [Stage("top_p", (0.9,))]),
        ({"top_p": 0.0}, [Stage("top_p", (0.0,))]),
        ({"min_p": 0.1}, [Stage("min_p", (0.1,))]),
        ({"repeat_penalty": 1.1}, [Stage("penalties", (64.0, 1.1, 0.0, 0.0))]),
        ({"repeat_penalty": 1e-300}, [Stage("penalties", (64.0, 1e-6, 0.0, 0.0))]),
        ({"repeat_penalty": 1.1, "repeat_last_n": 0}, []),
        ({"presence_penalty": 0.5}, [Stage("penalties", (2048.0, 1.0, 0.0, 0.5))]),
        ({"frequency_penalty": -1.0}, [Stage("penalties", (2048.0, 1.0, -1.0, 0.0))]),
    ],
)
def test_stages(fields: dict[str, float], expected: list[Stage]) -> None:
    assert chain(**fields) == expected  # type: ignore[arg-type]


def test_order_is_that_of_llama_cpp() -> None:
    everything = chain(
        ignore_eos=True,
        repeat_penalty=1.1,
        presence_penalty=0.5,
        top_k=40,
        top_p=0.9,
        min_p=0.1,
        temperature=0.7,
    )
    names = [stage.name for stage in everything]
    assert names == ["ban_eog", "penalties", "penalties", "top_k", "top_p", "min_p", "temp"]


def test_greedy_still_obeys_bans_and_penalties() -> None:
    names = [stage.name for stage in chain(ignore_eos=True, repeat_penalty=2.0, temperature=0.0)]
    assert names == ["ban_eog", "penalties", "greedy"]
