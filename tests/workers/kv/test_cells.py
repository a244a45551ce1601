"""The ledger of cells against single cells, what it refuses, and what its check finds."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from workers.kv.cells import CellLedger, Claim

SEQUENCES = st.integers(0, 4)


class Sharing(RuleBasedStateMachine):
    """Sequences that compute, share, change their minds and go, beside lists of single cells."""

    @initialize(capacity=st.integers(5, 60))
    def create(self, capacity: int) -> None:
        self.ledger = CellLedger(capacity)
        self.cells: dict[int, list[int]] = {}
        self.claims: dict[int, Claim] = {}
        self.next = 0

    @rule(sequence=SEQUENCES, count=st.integers(0, 9))
    def extend(self, sequence: int, count: int) -> None:
        if count > self.ledger.free:
            return
        self.ledger.extend(sequence, count)
        if count:
            fresh = range(self.next, self.next + count)
            self.next += count
            self.cells.setdefault(sequence, []).extend(fresh)
            self.claims.setdefault(sequence, Claim.RUNNING)

    @rule(source=SEQUENCES, other=SEQUENCES, part=st.floats(0, 1))
    def share(self, source: int, other: int, part: float) -> None:
        count = round(part * len(self.cells.get(source, [])))
        if other in self.cells:
            return
        self.ledger.share(source, other, count)
        if count:
            self.cells[other] = self.cells[source][:count]
            self.claims[other] = Claim.RUNNING

    @rule(sequence=SEQUENCES, claim=st.sampled_from(Claim))
    def claim(self, sequence: int, claim: Claim) -> None:
        self.ledger.claim(sequence, claim)
        if sequence in self.claims:
            self.claims[sequence] = claim

    @rule(sequence=SEQUENCES)
    def drop(self, sequence: int) -> None:
        self.ledger.drop(sequence)
        self.cells.pop(sequence, None)
        self.claims.pop(sequence, None)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        self.ledger.check()
        strongest: dict[int, Claim] = {}
        for sequence, cells in self.cells.items():
            for cell in cells:
                strongest[cell] = max(strongest.get(cell, Claim.KEPT), self.claims[sequence])
        counts = [list(strongest.values()).count(claim) for claim in Claim]
        assert [self.ledger.count(claim) for claim in Claim] == counts
        assert self.ledger.free == self.ledger.capacity - len(strongest)
        for sequence in range(5):
            cells = self.cells.get(sequence, [])
            others = {c for s, held in self.cells.items() if s != sequence for c in held}
            assert self.ledger.length(sequence) == len(cells)
            assert self.ledger.shared(sequence) == sum(cell in others for cell in cells)
            running = sum(strongest[cell] is Claim.RUNNING for cell in cells)
            assert self.ledger.running(sequence) == running


Sharing.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSharing = Sharing.TestCase


def test_full() -> None:
    ledger = CellLedger(3)
    ledger.extend(1, 3)
    with pytest.raises(ValueError, match="1 cells asked, 0 free"):
        ledger.extend(1, 1)
    assert ledger.length(1) == 3
    ledger.check()


def test_impossible_shares() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    with pytest.raises(ValueError, match="holds 3 cells, not 4"):
        ledger.share(1, 2, 4)
    with pytest.raises(ValueError, match="holds 0 cells, not 1"):
        ledger.share(5, 2, 1)
    ledger.share(1, 2, 1)
    with pytest.raises(ValueError, match="sequence 2 already holds cells"):
        ledger.share(1, 2, 2)
    ledger.check()


def test_runs_do_not_pile_up() -> None:
    """A prompt that a thousand others shared a part of is one run again when they are gone."""
    ledger = CellLedger(2000)
    ledger.extend(0, 1000)
    for count in range(1, 1000):
        ledger.share(0, 1, count)
        ledger.extend(1, 1)
        ledger.drop(1)
    assert len(list(ledger._last[0].lineage)) == 1


def test_check_finds_a_leak() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    del ledger._last[1]
    with pytest.raises(AssertionError, match=r"\[0, 0, 3\] cells counted, there are \[0, 0, 0\]"):
        ledger.check()


def test_check_finds_a_holder_that_is_gone() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    ledger.share(1, 2, 2)
    del ledger._last[2]
    with pytest.raises(AssertionError, match="holders disagree"):
        ledger.check()


def test_check_finds_a_wrong_length() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    ledger._length[1] = 2
    with pytest.raises(AssertionError, match="sequence 1 holds 3 cells, not its length"):
        ledger.check()


def test_check_finds_too_many_cells() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    ledger.capacity = 2
    with pytest.raises(AssertionError, match="3 cells used of 2"):
        ledger.check()
