"""The findings of ``forge doctor``, and how they are told."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from gateway.system.log_setup import escaped

Level = Literal["ok", "warning", "error"]
"""error: ``forge serve`` will not work. warning: it will, with less than it could."""
INDENT = 21
"""Columns before a message."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    check: str
    level: Level
    message: str
    advice: str = ""
    """The thing to do; empty if there is nothing to do."""


def ok(check: str, message: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, advice: str) -> Finding:
    """Return a finding with which ``forge serve`` works, but worse."""
    return Finding(check, "warning", message, advice)


def error(check: str, message: str, advice: str) -> Finding:
    """Return a finding with which ``forge serve`` does not work."""
    return Finding(check, "error", message, advice)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level among the findings."""
    levels = {each.level for each in findings}
    return "error" if "error" in levels else "warning" if "warning" in levels else "ok"


def as_json(version: str, findings: Sequence[Finding]) -> str:
    """Return the report for programs."""
    listed = [each._asdict() for each in findings]
    return json.dumps({"forge": version, "result": worst(findings), "findings": listed}, indent=1)


def as_text(findings: Sequence[Finding], width: int | None) -> str:
    """Return the report for people, in ``width`` columns; None: each message on one line."""
    lines = list[str]()
    for each in findings:
        lines += _lines(f"  {each.level:<8} {each.check:<9} ", each.message, width)
        if each.advice:
            lines += _lines(f"{'to do:':>{INDENT - 1}} ", each.advice, width)
    return "\n".join([*lines, "", summary(findings)])


def _lines(head: str, text: str, width: int | None) -> list[str]:
    text = escaped(text)
    if width is None:
        return [f"{head:<{INDENT}}{text}"]
    return textwrap.wrap(
        text,
        max(width, 2 * INDENT),
        initial_indent=f"{head:<{INDENT}}",
        subsequent_indent=" " * INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line: what all of it means for ``forge serve``."""
    errors = sum(each.level == "error" for each in findings)
    warnings = sum(each.level == "warning" for each in findings)
    if errors:
        return f"{_count(errors, 'error')}, {_count(warnings, 'warning')}: forge serve needs this."
    if warnings:
        return f"{_count(warnings, 'warning')}: forge serve works, and could do better."
    return "All is well: forge serve."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
