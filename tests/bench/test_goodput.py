"""Goodput: what a good answer is, and the search against a server whose limit is known."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

pytest.importorskip("gguf", reason="the benchmarks need the extra [bench]")

from hypothesis import given
from hypothesis import strategies as st

from bench.serving.client import Answer, Request
from bench.serving.conversations import Turn
from bench.serving.goodput import FINE, GAP_S, LEAST, MOST, STEP, TTFT_S, allowed, good, highest
from bench.serving.lifelike import open_loop

ONE = (Turn([{"role": "user", "content": "hi"}], 4),)


def heard(*moments: float, error: str = "") -> Answer:
    return Answer(0.0, [*moments], error=error)


def test_a_good_answer_is_early_and_even() -> None:
    assert good(heard(TTFT_S, TTFT_S + GAP_S))
    assert good(heard(0.1))
    assert not good(heard(TTFT_S + 0.01))
    assert not good(heard(0.5, 0.5 + GAP_S + 0.01, 1.0))
    assert not good(heard(0.1, error="cut off"))
    assert not good(heard())


def test_one_in_ten_may_be_bad() -> None:
    assert [allowed(n) for n in (1, 9, 10, 19, 20, 32)] == [0, 0, 1, 1, 2, 3]


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_limit_is_found(first: float, limit: float) -> None:
    tried: list[float] = []

    async def passes(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    found = asyncio.run(highest(passes, first))
    assert found <= limit
    assert found == 0 or found in tried
    assert len(tried) <= 2 + math.log(1 / LEAST, STEP) + 3
    if limit < first * LEAST:
        assert found == 0
    elif found * STEP > first * MOST:
        assert limit >= found, "as far as is sought"
    elif found:
        assert limit / found <= FINE * 1.001
    else:
        assert limit < first * LEAST * STEP, "below what was tried"


def test_rates_rise_until_one_fails() -> None:
    tried: list[float] = []

    async def passes(rate: float) -> bool:
        tried.append(rate)
        return rate <= 1.7

    asyncio.run(highest(passes, 1.0))
    assert tried[:4] == [1.0, STEP, STEP**2, STEP**3]


class Server:
    """Says one thing at once, or never."""

    def __init__(self, silent: set[int]) -> None:
        self._silent = silent
        self.asked = 0
        self.given_up = 0

    async def ask(self, request: Request) -> Answer:
        self.asked += 1
        if self.asked in self._silent:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up += 1
        now = time.perf_counter()
        return Answer(now, [now], now, "x", 1, 1, 0, "" if self.asked % 4 else "500")


@pytest.mark.anyio
async def test_a_failed_try_ends_at_once() -> None:
    """Requests that will never be answered do not hold it up, and none stays behind."""
    server, before = Server({1, 2}), asyncio.all_tasks()
    served = await open_loop(server, [ONE] * 40, [0.0] * 40, 3)
    assert not served
    assert server.given_up == 2
    assert asyncio.all_tasks() == before


@pytest.mark.anyio
async def test_a_try_that_passes_asks_everything() -> None:
    server = Server(set())
    assert await open_loop(server, [ONE] * 12, [0.0] * 12, 3)
    assert server.asked == 12
    assert not await open_loop(server, [ONE] * 12, [0.0] * 12, 2)


@pytest.mark.anyio
async def test_an_error_of_the_bench_is_none_of_the_servers() -> None:
    class Broken:
        async def ask(self, request: Request) -> Answer:
            raise TypeError

    with pytest.raises(ExceptionGroup):
        await open_loop(Broken(), [ONE], [0.0], 0)
