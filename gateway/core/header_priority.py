"""Priorities by headers: the operator's table, which tells an agent's calls apart. Pure.

    [header-priority]
    "x-claude-code-agent-id: *" = "normal"
    "x-claude-code-session-id: *" = "urgent"

A rule names a header and a pattern for its value, as in a shell and in any case. The first rule
that a request meets is its priority, if the request itself asks for none: here the calls of an
agent's helpers are normal, and the rest of its session, for which a person waits, is urgent.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from gateway.core.priority import priority_of

MOST_RULES = 64
LONGEST = 256
"""Characters of a pattern, and of a header's value that it is compared with."""
FORM = "expected 'HEADER: PATTERN' = PRIORITY"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}")


class HeaderRule(NamedTuple):
    """A header, the pattern that its value meets, and the priority of such requests."""

    header: str
    pattern: str
    priority: float

    def meets(self, value: str | None) -> bool:
        """Return whether a header's value meets the rule; None: there is none."""
        return value is not None and fnmatchcase(value[:LONGEST].lower(), self.pattern)


def header_rules(value: Any) -> tuple[HeaderRule, ...]:
    """Return the rules of a table, or of a text with commas. Raises ValueError about the first
    that is wrong."""
    if isinstance(value, str):
        value = [_divided(text) for text in value.split(",")]
    elif isinstance(value, Mapping):
        value = value.items()
    elif not isinstance(value, Sequence):
        raise ValueError(FORM)
    rules = tuple(_rule(each) for each in value)
    if len(rules) > MOST_RULES:
        raise ValueError(f"expected {MOST_RULES} rules at most")
    return rules


def first_met(rules: Iterable[HeaderRule], headers: Mapping[str, str]) -> float | None:
    """Return the priority of the first rule that a request's headers meet; None: of no rule."""
    return next((rule.priority for rule in rules if rule.meets(headers.get(rule.header))), None)


def _divided(text: str) -> tuple[str, str]:
    place, _, priority = text.rpartition("=")
    return place, priority.strip()


def _rule(given: Any) -> HeaderRule:
    if isinstance(given, HeaderRule):
        return given
    place, said = given if isinstance(given, tuple) else ("", given)
    header, colon, pattern = (part.strip().lower() for part in str(place).partition(":"))
    if not colon or not _HEADER.fullmatch(header):
        raise ValueError(FORM)
    if not 1 <= len(pattern) <= LONGEST:
        raise ValueError(f"{header}: expected a pattern of 1 to {LONGEST} characters")
    try:
        return HeaderRule(header, pattern, priority_of(said))
    except ValueError as error:
        raise ValueError(f"{header}: {error}") from None
