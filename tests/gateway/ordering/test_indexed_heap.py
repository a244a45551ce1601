"""Ranks that change and items that go, against a dict that is searched anew each time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.ordering.indexed_heap import IndexedHeap


class Ranks(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ranked: IndexedHeap[str] = IndexedHeap()
        self.oracle: dict[str, tuple[int, int]] = {}
        self.turn = 0

    @rule(item=st.sampled_from("abcdefgh"), rank=st.integers(0, 5))
    def set(self, item: str, rank: int) -> None:
        self.turn += 1
        self.ranked.set(item, rank)
        self.oracle[item] = rank, self.turn

    @rule(item=st.sampled_from("abcdefgh"))
    def discard(self, item: str) -> None:
        self.ranked.discard(item)
        self.oracle.pop(item, None)

    @precondition(lambda self: self.oracle)
    @rule()
    def rank_of_the_first(self) -> None:
        assert self.ranked.first_rank() == min(self.oracle.values())[0]

    @rule()
    def walk(self) -> None:
        """All of them in order, as long as is wanted; and nothing changes by it."""
        in_order = sorted(self.oracle, key=lambda item: self.oracle[item])
        assert list(self.ranked.walk()) == self.ranked.in_order() == in_order
        assert next(self.ranked.walk(), None) == next(iter(in_order), None)

    @invariant()
    def agree(self) -> None:
        assert len(self.ranked) == len(self.oracle)
        assert set(self.ranked) == set(self.oracle)
        assert ("a" in self.ranked) == ("a" in self.oracle)
        expected = min(self.oracle, key=lambda item: self.oracle[item], default=None)
        assert self.ranked.first() == expected


TestRanks = Ranks.TestCase
TestRanks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_memory_is_bounded_by_what_is_ranked() -> None:
    ranked: IndexedHeap[int] = IndexedHeap()
    for turn in range(10_000):
        ranked.set(turn % 10, turn)
        ranked.set(turn, turn)
        ranked.discard(turn)
    assert len(ranked._heap) < 200
