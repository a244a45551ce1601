"""The question before something is deleted."""

import sys

from gateway.config.config import ConfigError


def ask(question: str) -> None:
    """Raises :class:`ConfigError` unless the answer is yes."""
    if not sys.stdin.isatty():
        raise ConfigError("no terminal to ask in; --yes deletes without asking")
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfigError("nothing was deleted")
