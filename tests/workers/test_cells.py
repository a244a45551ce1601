"""The ledger of cells: what it refuses, and what its check finds."""

import pytest

from workers.cells import CellLedger


def test_sharing_costs_nothing_and_frees_nothing() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 6)
    ledger.share(1, 2, 4)
    ledger.extend(2, 2)
    assert (ledger.used, ledger.free) == (8, 2)
    assert (ledger.length(1), ledger.length(2), ledger.length(3)) == (6, 6, 0)
    assert ledger.exclusive({1}) == 2
    assert ledger.exclusive({2}) == 2
    assert ledger.exclusive({1, 2}) == 8
    assert ledger.exclusive(set()) == ledger.exclusive({7}) == 0
    ledger.drop(1)
    assert (ledger.used, ledger.length(2)) == (6, 6)
    ledger.drop(2)
    ledger.drop(2)
    assert (ledger.used, ledger.free) == (0, 10)
    ledger.check()


def test_extending_a_copy_leaves_the_original_alone() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    ledger.share(1, 2, 3)
    ledger.extend(2, 1)
    assert (ledger.length(1), ledger.length(2)) == (3, 4)
    ledger.check()


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


def test_check_finds_a_leak() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    del ledger._held[1]
    with pytest.raises(AssertionError, match="disagree"):
        ledger.check()


def test_check_finds_too_many_cells() -> None:
    ledger = CellLedger(10)
    ledger.extend(1, 3)
    ledger.capacity = 2
    with pytest.raises(AssertionError, match="3 cells used of 2"):
        ledger.check()
