"""More names of models: plain ones, and patterns such as ``claude-*``. Pure."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

MAX_NAME = 256
"""Characters of a name that is looked for among patterns: a body has room for long ones."""


def is_pattern(alias: str) -> bool:
    """Return whether an alias stands for many names: ``*``, ``?`` and ``[...]`` as in a shell."""
    return any(sign in alias for sign in "*?[")


class Aliases:
    """The models' other names: plain ones first, then patterns, in the order of the models."""

    def __init__(self, aliases: Mapping[str, Sequence[str]]) -> None:
        """``aliases`` of each model, by its own name."""
        pairs = [(alias, name) for name, each in aliases.items() for alias in each]
        self._plain = {alias: name for alias, name in reversed(pairs) if not is_pattern(alias)}
        self._patterns = [(alias, name) for alias, name in pairs if is_pattern(alias)]

    def exact(self, asked: str) -> str | None:
        """Return the model's own name for a plain alias; None if no model has it."""
        return self._plain.get(asked)

    def find(self, asked: str) -> str | None:
        """Return the model's own name for another; None if no model has that."""
        if asked in self._plain:
            return self._plain[asked]
        if len(asked) > MAX_NAME:
            return None
        return next((name for alias, name in self._patterns if fnmatchcase(asked, alias)), None)

    def plain(self, name: str) -> list[str]:
        """Return a model's other names, patterns apart."""
        return sorted(alias for alias, own in self._plain.items() if own == name)
