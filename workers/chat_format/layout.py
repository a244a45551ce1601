"""The texts around the name and the arguments of a call, for formats that are literals. Pure.

One value of :class:`Layout` is read three ways: :mod:`workers.chat_format.grammar` makes the rules
that bind a model to it, :mod:`workers.chat_format.parser` finds the calls in what the model wrote,
and :func:`Layout.written` writes earlier calls for templates that can't.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Layout:
    """An answer: ``first NAME middle ARGUMENTS after (again NAME middle ARGUMENTS after)* end``.

    ``ARGUMENTS`` is a JSON value. Free text may come first where ``inside`` says how a call begins
    after it.
    """

    first: tuple[str, ...]
    """Ways to begin an answer that is a call; the first one is the usual one."""
    inside: str | None
    """Beginning of calls after text; None: a call comes first, or not at all."""
    opening: str | None
    """Beginning of ``inside`` and ``first``: a model that wrote this is calling and goes on so.
    None: nothing is that telling without the name of a function and ``middle``."""
    middle: str
    after: str
    again: str | None = None
    """Beginning of the next call right after one; None: there is no next one."""
    end: str = ""
    says: tuple[str, ...] = ()
    """Ways to begin an answer that is text, if they have to be written at all."""
    controls: tuple[str, ...] = ()
    """The texts that may be control tokens in the model's vocabulary."""

    def heads(self, prefixes: Iterable[str], names: Iterable[str]) -> dict[str, str]:
        """All there is from a prefix to where the arguments begin, and whose they are."""
        names = list(names)
        return {before + in_json(name) + self.middle: name for before in prefixes for name in names}

    @property
    def ends_thoughts(self) -> bool:
        """Return whether a call may begin in a thought, and ends it: its mark is telling."""
        return self.inside is not None and self.opening is not None

    @property
    def after_text(self) -> "Layout":
        """The rest of an answer whose text has begun."""
        first = self.first if self.inside is None else (self.inside,)
        return replace(self, first=first, says=())

    def written(self, calls: list[tuple[str, str]]) -> str:
        """Calls (name, JSON of the arguments) as the model would write them."""
        pieces = [
            (self.again if index and self.again else self.first[0])
            + in_json(name)
            + self.middle
            + arguments
            + self.after
            for index, (name, arguments) in enumerate(calls)
        ]
        return "".join(pieces) + self.end


def in_json(name: str) -> str:
    """The name as it stands between quotes in JSON: itself, for the names that OpenAI allows."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def beginning(texts: Collection[str]) -> str:
    """Return the longest text that all of these begin with."""
    first, last = min(texts, default=""), max(texts, default="")
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((at for at, (one, other) in pairs if one != other), len(first))]
