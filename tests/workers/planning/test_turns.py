"""Turns of groups that can't be computed together: fair by weight, and none starves."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.planning.step_budget import UNNOTICED_MS
from workers.planning.turns import FIRST_CHANGE_MS, MOST_GONE, OVERHEAD, GroupTurns, weight

NORMAL, URGENT, BATCH = 1.0, 2.0, 0.0


@dataclass
class Machine:
    """Groups by name, what a step of each takes, and what a change takes."""

    turns: GroupTurns[str]
    groups: dict[str, list[float]]
    step_ms: dict[str, float]
    change_ms: float = 10.0
    last: str | None = None
    clock: float = 0.0
    changes: int = 0

    def step(self) -> str:
        """Compute one step; whose it was."""
        chosen = self.turns.choose(self.groups)
        assert chosen in self.groups
        assert self.turns.choose(self.groups) == chosen, "the same answer until the step is over"
        ms = self.step_ms[chosen]
        if self.last not in (None, chosen):
            self.turns.changed(self.change_ms)
            self.changes += 1
            ms += self.change_ms
        self.turns.spent(chosen, ms, self.groups)
        self.last = chosen
        self.clock += ms
        return chosen

    def run(self, ms: float) -> dict[str, float]:
        """Compute for so long; the time that each group had."""
        had, end = dict.fromkeys(self.groups, 0.0), self.clock + ms
        while self.clock < end:
            before = self.clock
            chosen = self.step()
            had[chosen] += self.clock - before
        return had


PRIORITIES = st.lists(st.sampled_from([BATCH, NORMAL, URGENT, 7.0, -3.0]), min_size=1, max_size=6)
MACHINES = st.integers(1, 5).flatmap(
    lambda count: st.builds(
        Machine,
        st.builds(GroupTurns),
        st.fixed_dictionaries(dict.fromkeys("abcde"[:count], PRIORITIES)),
        st.fixed_dictionaries({name: st.floats(10, 300) for name in "abcde"[:count]}),
        st.floats(0, 50),
    )
)


def whole(machine: Machine) -> float:
    return sum(sum(map(weight, each)) for each in machine.groups.values())


@settings(max_examples=40, deadline=None)
@given(MACHINES)
def test_each_group_has_its_weight_of_the_time(machine: Machine) -> None:
    """Over long, but for a round and a step of each."""
    had = machine.run(30_000)
    longest = max(machine.step_ms.values()) + machine.change_ms
    for name, priorities in machine.groups.items():
        fair = machine.clock * sum(map(weight, priorities)) / whole(machine)
        slack = 2 * (UNNOTICED_MS + len(machine.groups) * longest)
        assert had[name] == pytest.approx(fair, abs=slack)


@settings(max_examples=40, deadline=None)
@given(MACHINES)
def test_no_group_starves(machine: Machine) -> None:
    """The time between two turns of a group has a bound, which its weight and the steps give."""
    machine.run(1_000)
    longest = max(machine.step_ms.values()) + machine.change_ms
    last = dict.fromkeys(machine.groups, machine.clock)
    bounds = {
        name: 2 * (UNNOTICED_MS + len(machine.groups) * longest)
        + 2 * longest * whole(machine) / sum(map(weight, priorities))
        for name, priorities in machine.groups.items()
    }
    for _ in range(300):
        last[machine.step()] = machine.clock
        for name, at in last.items():
            assert machine.clock - at <= bounds[name]


@settings(max_examples=40, deadline=None)
@given(MACHINES, st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcde")), max_size=12))
def test_groups_come_and_go(machine: Machine, changes: list[tuple[int, str]]) -> None:
    """Whatever comes and goes, one that is there is chosen, and no more than those is kept."""
    every = dict(machine.groups)
    for steps, name in changes:
        for _ in range(steps):
            machine.step()
        if name in machine.groups and len(machine.groups) > 1:
            del machine.groups[name]
        elif name in every:
            machine.groups[name] = every[name]
        machine.step()
        assert len(machine.turns._virtual) <= len(every)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=90))
def test_names_that_never_come_back_are_forgotten(steps: list[float]) -> None:
    """Clients choose scales, so there may be any number of groups in the course of time."""
    turns: GroupTurns[int] = GroupTurns()
    for name, ms in enumerate(steps):
        groups = {name: [NORMAL], name + 1: [NORMAL]}
        turns.spent(turns.choose(groups), ms, groups)
        assert len(turns._virtual) <= MOST_GONE + 2
    for name, ms in enumerate(steps, start=1000):
        alone = {name: [NORMAL]}
        turns.spent(turns.choose(alone), ms, alone)
        assert len(turns._virtual) <= MOST_GONE + 1
    assert len(turns._virtual) == 1


@settings(max_examples=40, deadline=None)
@given(MACHINES, st.integers(0, 60))
def test_an_urgent_group_that_comes_is_next(machine: Machine, steps: int) -> None:
    machine.groups = {name: [min(p, NORMAL) for p in each] for name, each in machine.groups.items()}
    for _ in range(steps):
        machine.step()
    machine.groups["urgent"], machine.step_ms["urgent"] = [URGENT], 20.0
    assert machine.step() == "urgent"


def test_an_urgent_sequence_that_joins_a_group_brings_it_its_turn() -> None:
    turns: GroupTurns[str] = GroupTurns()
    machine = Machine(turns, {"a": [NORMAL] * 4, "b": [NORMAL]}, {"a": 20.0, "b": 20.0})
    machine.run(3000)
    while machine.step() != "a":
        pass
    behind = turns._virtual["b"] <= turns._virtual["a"]
    machine.groups["b"] = [NORMAL, URGENT]
    while not behind:
        machine.step()
        behind = turns._virtual["b"] <= turns._virtual["a"]
    assert machine.step() == "b"


def test_who_leaves_while_ahead_is_ahead_when_it_comes_back() -> None:
    """Requests of a token each, one after the other, are not more than one long one."""
    turns: GroupTurns[str] = GroupTurns()
    had = {"steady": 0.0, "coming": 0.0}
    for round_ in range(2000):
        groups = {"steady": [NORMAL]} | ({"coming": [NORMAL]} if round_ % 2 else {})
        chosen = turns.choose(groups)
        turns.spent(chosen, 10.0, groups)
        had[chosen] += 10.0
    assert had["coming"] <= had["steady"]


def test_changes_take_a_tenth_where_streams_do_not_notice() -> None:
    machine = Machine(GroupTurns(), {"a": [NORMAL], "b": [NORMAL]}, {"a": 5.0, "b": 5.0}, 8.0)
    machine.run(1000)
    changes, began = machine.changes, machine.clock
    machine.run(10_000)
    share = (machine.changes - changes) * machine.change_ms / (machine.clock - began)
    assert OVERHEAD / 2 < share < OVERHEAD * 1.3


def test_costly_changes_leave_no_longer_gaps() -> None:
    """Streams stand still for no longer than they would notice, and for the changes."""
    machine = Machine(GroupTurns(), {"a": [NORMAL], "b": [NORMAL]}, {"a": 5.0, "b": 5.0}, 60.0)
    machine.run(2000)
    last = dict.fromkeys("ab", machine.clock)
    for _ in range(500):
        chosen = machine.step()
        gap, last[chosen] = machine.clock - last[chosen], machine.clock
        assert gap <= UNNOTICED_MS + 2 * (60.0 + 5.0)


def test_before_a_change_was_measured_there_are_steps_without_one() -> None:
    turns: GroupTurns[str] = GroupTurns()
    groups = {"a": [NORMAL], "b": [NORMAL]}
    chosen = []
    for _ in range(6):
        chosen.append(turns.choose(groups))
        turns.spent(chosen[-1], FIRST_CHANGE_MS, groups)
    assert chosen[0] == chosen[1]


def test_a_group_alone_is_never_weighed() -> None:
    turns: GroupTurns[str] = GroupTurns()
    for _ in range(10):
        assert turns.choose({"": [NORMAL]}) == ""
        turns.spent("", 10.0, {"": [NORMAL]})
    assert not turns._virtual
