"""A command line of llama-server's, in Forge's words. Pure.

A line for each option that is taken as another one, or left out, says what was done.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gateway.config.llama_server_options import BY_FLAG, DEFAULT, MAYBE, SLOTS, VALUES
from gateway.config.llama_server_sampling import Default, with_option
from gateway.core.validation import shown


class NotTaken(Exception):
    """An option of llama-server's that can't be taken; the text says what there is here."""


class Translated(NamedTuple):
    """A command line in Forge's words."""

    arguments: list[str]
    notes: list[str]
    """A line for each option that was taken as another one, or left out."""


def translated(arguments: Sequence[str]) -> Translated:
    """Return the ``arguments`` of ``forge serve`` in Forge's own. Raises :class:`NotTaken`.

    What is taken for another option stands before all others, so that these win.
    """
    kept, ours, notes = list[str](), list[str](), list[str]()
    defaults: dict[str, Any] = {}
    for flag, value, whole_option in _options(arguments):
        default, words = _default_of(flag), None
        try:
            if default is None:
                words, why = _ours(flag, value)
                ours += words or ()
            else:
                defaults = with_option(defaults, default, value or "")
                words, why = _sampling({default.field: defaults[default.field]}), DEFAULT
        except ValueError as error:
            raise NotTaken(f"{flag}: {error}, not {shown(value or '')}") from None
        if words is None:
            kept += whole_option
        else:
            notes.append(_note(flag, value, words, why))
    return Translated([*_sampling(defaults), *ours, *kept], notes)


def _default_of(flag: str) -> Default | None:
    row = BY_FLAG.get(flag)
    return None if row is None or row.taken is None else row.taken.default


def _sampling(defaults: dict[str, Any]) -> Sequence[str]:
    """Return defaults of requests in Forge's words."""
    return ("--sampling", json.dumps(defaults)) if defaults else ()


def _note(flag: str, value: str | None, words: Sequence[str], why: str) -> str:
    said = flag if value is None else f"{flag} {value}"
    done = f"taken as {' '.join(words)}" if words else "left out"
    return f"{said}, llama-server's, is {done}: {why}"


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str | None, list[str]]]:
    """Each argument as an option, with its value where one is known to follow, and both."""
    rest = list(arguments)
    while rest:
        flag, equals, value = rest[0].partition("=")
        count = 1
        if not equals:
            count += _follows(flag, rest[1:])
            value = rest[1] if count == 2 else ""
        yield flag, value if equals or count == 2 else None, rest[:count]
        del rest[:count]


def _follows(flag: str, rest: Sequence[str]) -> int:
    """Return how many arguments after ``flag`` are its value. Raises :class:`NotTaken`."""
    if flag in VALUES:
        return min(1, len(rest))
    if flag == SLOTS:
        return int(bool(rest) and not rest[0].startswith("-"))
    row = BY_FLAG.get(flag)
    if row is None or row.taken is None or row.taken.values == 0:
        return 0
    if row.taken.values == MAYBE:
        return int(bool(rest) and not rest[0].startswith("-"))
    if not rest:
        raise NotTaken(f"{flag}: expected one argument")
    return 1


def _ours(flag: str, value: str | None) -> tuple[Sequence[str] | None, str]:
    """Return an option in Forge's words and why so; None if it is Forge's own."""
    if flag in VALUES:
        said, words, why = VALUES[flag]
        return (words if value == said else None), why
    row = BY_FLAG.get("--no-slots" if flag == SLOTS and value is None else flag)
    if row is None:
        return None, ""
    taken = None if row.taken is None else row.taken.ours(value or "")
    if taken is None:
        raise NotTaken(f"{flag} is llama-server's; here there is {row.instead}")
    return taken, row.instead
