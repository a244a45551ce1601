"""The operator's table of priorities by headers."""

import re
from typing import Any

import pytest

from gateway.core.header_priority import (
    FORM,
    LONGEST,
    MOST_RULES,
    HeaderRule,
    first_met,
    header_rules,
)

TABLE = {
    "X-Claude-Code-Agent-Id: *": "normal",
    "x-claude-code-session-id: *": 2,
    "User-Agent: codex_exec/*": "Batch",
    "originator: codex_?li*": 1.5,
}
RULES = (
    HeaderRule("x-claude-code-agent-id", "*", 1.0),
    HeaderRule("x-claude-code-session-id", "*", 2.0),
    HeaderRule("user-agent", "codex_exec/*", 0.0),
    HeaderRule("originator", "codex_?li*", 1.5),
)


def test_a_table_and_a_text_say_the_same() -> None:
    text = ", ".join(f"{place} = {priority}" for place, priority in TABLE.items())
    assert header_rules(TABLE) == header_rules(text) == header_rules(RULES) == RULES
    assert header_rules("x-app:a=b*=urgent") == (HeaderRule("x-app", "a=b*", 2.0),)
    assert header_rules({}) == ()


@pytest.mark.parametrize(
    ("headers", "priority"),
    [
        ({}, None),
        ({"x-claude-code-session-id": "0e8d"}, 2.0),
        ({"x-claude-code-session-id": "0e8d", "x-claude-code-agent-id": "a1"}, 1.0),
        ({"user-agent": "Codex_Exec/0.99 (linux)"}, 0.0),
        ({"user-agent": "mycodex_exec/0.99"}, None),
        ({"originator": "codex_cli_rs"}, 1.5),
        ({"originator": "codex_vscode"}, None),
        ({"x-claude-code-session-id": ""}, 2.0),
        ({"user-agent": "codex_exec/" + "x" * 10**6}, 0.0),
    ],
)
def test_the_first_that_is_met(headers: dict[str, str], priority: float | None) -> None:
    assert first_met(RULES, headers) == priority


def test_a_pattern_takes_no_time() -> None:
    """Of a value no more is compared than a pattern may have, and stars don't multiply."""
    (rule,) = header_rules({f"a: {'*a' * (LONGEST // 2 - 1)}b": 1})
    assert not rule.meets("a" * 10**6)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", FORM),
        ("x-app", FORM),
        ("x-app=urgent", FORM),
        ("x app: * = urgent", FORM),
        (": * = urgent", FORM),
        ("x-app: *", FORM),
        ("x-app: * = urgent,", FORM),
        ("x-app: = urgent", f"x-app: expected a pattern of 1 to {LONGEST} characters"),
        ("x-app: * = soon", "x-app: must be a finite number or one of"),
        ("x-app: * = inf", "x-app: must be a finite number or one of"),
        ({"x-app: *": True}, "x-app: must be a finite number or one of"),
        ({"x-app: *": ["urgent"]}, "x-app: must be a finite number or one of"),
        ({"x-app: " + "x" * (LONGEST + 1): 1}, "x-app: expected a pattern"),
        ({"x" * 65 + ": *": 1}, FORM),
        ({f"x-{n}: *": 1 for n in range(MOST_RULES + 1)}, f"expected {MOST_RULES} rules at most"),
        (5, FORM),
        ([5], FORM),
        (["x-app: * = 1"], FORM),
    ],
)
def test_what_is_no_rule(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        header_rules(value)
