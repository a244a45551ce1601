"""Each file of tests is looked at by the runs of its tier, and by no others."""

from pathlib import Path

from tests.tiers import LONG, SERVER, SLOW, left_out, tier

TESTS = Path(__file__).parent
FILES = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("test_*.py"))]


def test_files_are_looked_at_in_their_tier() -> None:
    for file in FILES:
        slow = tier(file, frozenset()) == "slow"
        assert left_out(file, "slow") is not slow
        assert left_out(file, "unit or server") is slow
        ways = [*file.parents, file]
        assert not any(left_out(way, "slow" if slow else "unit or server") for way in ways)


def test_other_expressions_leave_nothing_out() -> None:
    for expression in ("", "not slow", "unit and server", "unit or server or slow"):
        assert not any(left_out(file, expression) for file in FILES)


def test_the_named_files_are_there() -> None:
    assert [each for each in (*LONG, *SERVER, *SLOW) if not (TESTS / each).exists()] == []
