"""The prompt of a gap to fill, token by token as llama-server lays it out. Pure.

    [REP] myproject\\n ([SEP] NAME\\n TEXT)* [SEP] filename\\n
    [BOS] [PRE] PREFIX BEGUN [SUF] SUFFIX [MID]

What the model has no token for is left out; without [SEP] a separator stands before each text, and
no name. Prefix and suffix share PART of a context at most, three to one, and lose what is farthest
from the gap; the files take what is left, and lose their beginning.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

PART = 2048
"""Tokens around the gap, as many as llama-server's default batch; of a small context one half."""
PROJECT = "myproject\n"
THIS_FILE = "filename\n"
SEPARATOR = "\n\n--- snippet ---\n\n"


class FIMTokens(NamedTuple):
    """The tokens before the prefix, before the suffix and before the text to be filled in."""

    pre: int
    suf: int
    mid: int
    rep: int | None = None
    """The one before a project's name, if there is one."""
    sep: int | None = None
    """The one before a file's name, if there is one."""


def project(
    fim: FIMTokens, files: Iterable[tuple[str, str]], tokenize: Callable[[str], list[int]]
) -> list[int]:
    """Return the tokens of a project's files, given by name and text, and of this file's name."""
    found: list[int] = []
    if fim.rep is not None:
        found += [fim.rep, *tokenize(PROJECT)]
    for name, text in files:
        found += tokenize(SEPARATOR) if fim.sep is None else [fim.sep, *tokenize(f"{name}\n")]
        found += tokenize(text)
    if fim.sep is not None:
        found += [fim.sep, *tokenize(THIS_FILE)]
    return found


def gap(
    fim: FIMTokens, head: list[int], prefix: list[int], begun: list[int], suffix: list[int]
) -> list[int]:
    """Return the tokens around a gap. ``head``: those that the model wants before a text."""
    return [*head, fim.pre, *prefix, *begun, fim.suf, *suffix, fim.mid]


def around(
    prefix: list[int], begun: list[int], suffix: list[int], limit: int
) -> tuple[list[int], list[int]]:
    """Return the end of the prefix and the beginning of the suffix that a context has room for.

    ``limit``: tokens of the context.
    """
    quarter = min(PART, limit // 2) // 4
    before, after = 3 * quarter, max(0, quarter - 2 - len(begun))
    return prefix[max(0, len(prefix) - before) :], suffix[:after]


def fitting(extra: list[int], used: int, answer: int, limit: int) -> list[int]:
    """Return the end of the files' tokens that fits beside ``used`` others and the answer's."""
    most = min(limit - min(PART, limit // 2) + 2, limit - used - answer)
    return extra[max(0, len(extra) - max(0, most)) :]
