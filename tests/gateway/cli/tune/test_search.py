"""The search: its stages, its time, and what fails on the way. In virtual time."""

from collections.abc import Callable

import pytest

from gateway.cli.tune.plan import Setting, Visit
from gateway.cli.tune.report import plain
from gateway.cli.tune.search import Found, NothingMeasured, Search, VisitFailed

BASE = Setting(workers=2, threads=1, slots=8, repack=True)


class FakeMachine:
    """Gives every setting an output, and takes a second for each visit."""

    def __init__(self, output: Callable[[Setting], float], *, cost_s: float = 1.0) -> None:
        self._output = output
        self._cost_s = cost_s
        self.now = 100.0
        self.visits: list[tuple[Setting, bool]] = []
        self.told: list[tuple[float, float]] = []

    def clock(self) -> float:
        return self.now

    def __call__(self, setting: Setting, *, curves: bool) -> Visit:
        self.now += self._cost_s
        self.visits.append((setting, curves))
        output = self._output(setting)
        if not output:
            raise VisitFailed("no memory")
        return Visit(output, 1.0, 1, 4096, {1: 1.0} if curves else {})

    def tell(self, done_s: float, total_s: float, what: str) -> None:
        assert str(self.visits) or what
        self.told.append((done_s, total_s))

    def search(self, seconds: float = 1000.0, *, fixed: tuple[str, ...] = ()) -> Found:
        search = Search(BASE, frozenset(fixed), 2, self, self.clock, seconds, self.tell)
        return search.run()


def test_each_stage_starts_from_the_winner_of_the_one_before() -> None:
    def output(s: Setting) -> float:
        return 100.0 * (s.workers == 1) + 50 * (not s.repack) + 20 * (s.flash_attn == "off") + 1

    machine = FakeMachine(output)
    found = machine.search()
    assert found.chosen.setting == Setting(1, 2, 8, repack=False, flash_attn="off", ctx=4096)
    assert [stage.name for stage in found.stages] == ["shape", "cache", "slots"]
    assert found.stages[1].results[0].setting == found.stages[0].chosen.setting
    assert found.gain == pytest.approx(171 / 1)
    assert found.skipped == []


def test_turns_are_taken_back_and_forth_and_laggards_leave() -> None:
    machine = FakeMachine(lambda s: 100.0 if s.workers == 2 else 10.0)
    machine.search(fixed=("slots", "flash_attn", "cache_type_k"))
    first, second = [s for s, _ in machine.visits[:4]], [s for s, _ in machine.visits[4:6]]
    assert second == [s for s in reversed(first) if s.workers == 2]
    assert len(machine.visits) == 4 + 4 * 2
    assert [curves for _, curves in machine.visits] == [True] * 4 + [False] * 8


def test_no_time_is_one_turn_of_the_first_stage() -> None:
    machine = FakeMachine(lambda s: 1.0)
    found = machine.search(1.0)
    assert len(machine.visits) == 4
    assert found.skipped == ["cache", "slots"]
    assert found.chosen.setting == BASE
    assert "No time was left" in "\n".join(plain(found))


@pytest.mark.parametrize("seconds", [10.0, 20.0, 50.0])
def test_time_is_kept_and_told(seconds: float) -> None:
    machine = FakeMachine(lambda s: 1.0)
    machine.search(seconds)
    assert machine.now - 100.0 <= seconds
    assert all(done <= total for done, total in machine.told)
    assert len(machine.told) == len(machine.visits)


def test_a_failure_is_a_line_of_its_own() -> None:
    machine = FakeMachine(lambda s: 0.0 if s.repack else 5.0)
    found = machine.search()
    assert found.stages[0].results[0].failure == "no memory"
    assert not found.chosen.setting.repack
    assert found.gain is None
    lines = list(plain(found))
    assert any("repacked" in line and line.endswith("no memory") for line in lines)


def test_nothing_but_failures() -> None:
    with pytest.raises(NothingMeasured, match="no memory"):
        FakeMachine(lambda s: 0.0).search()


def test_a_stage_whose_incumbent_fails_changes_nothing() -> None:
    left = [20]

    def dies_later(s: Setting) -> float:
        left[0] -= 1
        return float(left[0] > 0)

    found = FakeMachine(dies_later).search()
    assert [stage.name for stage in found.stages] == ["shape"]
