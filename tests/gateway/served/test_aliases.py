"""Other names of models."""

import pytest

from gateway.served.aliases import Aliases

ALIASES = Aliases(
    {"big": ["claude-*", "gpt-5*", "main"], "small": ["claude-haiku-?", "main", "fast", "a[bc]"]}
)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("main", "big"),
        ("fast", "small"),
        ("claude-opus-4-8", "big"),
        ("claude-haiku-4", "big"),
        ("gpt-5", "big"),
        ("ab", "small"),
        ("Claude-opus", None),
        ("xclaude-", None),
        ("", None),
        ("claude-" + "x" * 300, None),
    ],
)
def test_the_first_that_fits(asked: str, name: str | None) -> None:
    assert ALIASES.find(asked) == name


def test_plain_ones_are_told() -> None:
    assert ALIASES.plain("big") == ["main"]
    assert ALIASES.plain("small") == ["fast"]


def test_a_long_name_and_a_bad_pattern_take_no_time() -> None:
    assert Aliases({"m": ["*a" * 100]}).find("a" * 255 + "b") is None
