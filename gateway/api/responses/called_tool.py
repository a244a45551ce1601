"""A tool as its calls are told, and its name as the model knows it. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A tool as its calls are told."""

    name: str
    namespace: str | None = None
    custom: bool = False


def flat(namespace: str | None, name: str) -> str:
    """Return a tool's name as the model knows it."""
    return f"{namespace}__{name}" if namespace else name
