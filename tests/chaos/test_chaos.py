"""The whole promise: workers die at random under load, and no client sees more than a pause."""

import asyncio
import dataclasses
import sys
from collections import Counter

import pytest

from bench.chaos.asking import LENGTHS, mix
from bench.chaos.clients import Answer, Outcome
from bench.chaos.experiment import Plan, run
from bench.chaos.mayhem import KINDS
from bench.chaos.verdict import Remains, mismatch, pauses

pytestmark = pytest.mark.usefixtures("unmeasured")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
@pytest.mark.timeout(300)
def test_a_minute_of_chaos() -> None:
    """The assertions do not depend on the machine's speed, only the amount of work does."""
    result = asyncio.run(run(Plan(seconds=40, requests=35, patient=True)))
    assert result.faults == []
    # It did happen: workers died, and answers were compared.
    assert result.restarts >= result.deaths > 0
    assert any(outcome.answer is not None for outcome in result.outcomes)
    assert any(outcome.left for outcome in result.outcomes)


def test_the_requests_are_a_mix() -> None:
    requests = mix(105, 1)
    assert requests == mix(105, 1)
    assert requests != mix(105, 2)
    dialects = Counter((request.dialect, request.stream) for request in requests)
    assert len(dialects) == 5
    assert min(dialects.values()) > 3
    params = [dict(request.params) for request in requests]
    assert {p["max_tokens"] for p in params} == set(LENGTHS)
    assert {p["priority"] for p in params} == {"batch", "normal", "urgent"}
    for name in ("stop", "timeout", "ignore_eos", "frequency_penalty", "repeat_penalty", "top_k"):
        assert 0 < sum(name in p for p in params) < len(params)
    assert any(request.n == 2 and request.stream for request in requests)
    assert {*KINDS} == {"kill", "both", "chase", "start", "stop", "last", "nap"}


def outcome(text: str, *, whole: bool, reason: str = "length", tokens: int = 2) -> Outcome:
    (request,) = mix(1, 1)
    found = Outcome(dataclasses.replace(request, n=1))
    found.texts = [text]
    found.answer = Answer((text,), (reason,), 3, tokens) if whole else None
    return found


def test_a_difference_is_seen() -> None:
    twin = Answer(("one two",), ("length",), 3, 2)
    assert mismatch(outcome("one two", whole=True), twin) == ""
    assert mismatch(outcome("one one two", whole=True), twin)
    assert mismatch(outcome("one", whole=True), twin)
    assert mismatch(outcome("one two", whole=True, reason="stop"), twin)
    assert mismatch(outcome("one two", whole=True, tokens=3), twin)
    # Whoever hung up saw the beginning.
    assert mismatch(outcome("", whole=False), twin) == ""
    assert mismatch(outcome("one t", whole=False), twin) == ""
    assert mismatch(outcome("one one", whole=False), twin)


def test_a_pause_is_a_gap_in_which_a_worker_died() -> None:
    stream = outcome("", whole=True)
    stream.stamps.extend([0.0, 0.05, 0.5, 0.55, 2.0])
    assert pauses(stream, []) == []
    assert pauses(stream, [0.02, 0.52]) == []
    assert pauses(stream, [0.3, 0.31]) == [pytest.approx(0.45)]
    assert pauses(stream, [0.3, 1.0]) == [pytest.approx(0.45), pytest.approx(1.45)]


def test_anything_left_behind_is_a_fault() -> None:
    assert Remains().nothing
    for left in (Remains(files=1), Remains(cells=1), Remains(unready=1), Remains(strangers=["Z"])):
        assert not left.nothing
