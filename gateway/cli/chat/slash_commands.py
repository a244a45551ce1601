"""The input of a chat: words for the model, or a command. Pure."""

from dataclasses import dataclass
from difflib import get_close_matches

COMMANDS = {
    "help": ("", "this list"),
    "system": ("[TEXT]", "set the system message; without a text, show it; - removes it"),
    "model": ("[NAME]", "talk to another model; without a name, list those there are"),
    "priority": ("[NAME]", "batch, normal, urgent or a number; without one, show it"),
    "save": ("FILE", "write the conversation to a new file"),
    "load": ("FILE", "go on with a conversation that was saved"),
    "retry": ("", "answer the last words again"),
    "undo": ("", "forget the last words and their answer"),
    "reset": ("", "forget everything but the system message"),
    "exit": ("", "leave; so does Ctrl-D"),
}
"""The arguments of each, and its effect."""
_ALSO = {"quit": "exit", "bye": "exit", "clear": "reset", "?": "help", "sys": "system"}
FENCE = '"""'
"""Stands around words of several lines."""


@dataclass(frozen=True, slots=True)
class Command:
    """One of :data:`COMMANDS`, and the rest of its line."""

    name: str
    argument: str = ""


class Unknown(Exception):
    """There is no such command; says which may have been meant."""


def parse(text: str) -> Command | str:
    """A command, or words for the model. Raises :class:`Unknown`.

    A command begins with a slash and a letter; what should reach the model with one begins with
    two of them.
    """
    line = text.strip()
    if line.startswith("//"):
        return line[1:]
    if not (line.startswith("/") and (line[1:2].isalpha() or line[1:2] == "?")):
        return unfenced(text)
    name, _, rest = line[1:].partition(" ")
    if "/" in name:  # a path is no command
        return unfenced(text)
    name = _ALSO.get(name.lower(), name.lower())
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean /{near[0]}?" if near else "/help lists those there are"
        raise Unknown(f"there is no command /{name}; {hint}")
    return Command(name, unfenced(rest.strip()))


def unfinished(text: str) -> bool:
    """Tell if more lines follow: the last one ends with a backslash, or a fence is open."""
    return text.count(FENCE) % 2 == 1 or text.endswith("\\")


def unfenced(text: str) -> str:
    """Words without the fences around them, and without backslashes at the ends of lines."""
    stripped = text.strip()
    if len(stripped) >= 2 * len(FENCE) and stripped.startswith(FENCE) and stripped.endswith(FENCE):
        return stripped[len(FENCE) : -len(FENCE)].strip("\n")
    return text.replace("\\\n", "\n")


def help_text() -> str:
    """All commands, a line each."""
    rows = [(f"/{name} {takes}".rstrip(), does) for name, (takes, does) in COMMANDS.items()]
    width = max(len(left) for left, _ in rows)
    lines = [f"  {left:<{width}}  {does}" for left, does in rows]
    return "\n".join(
        [
            *lines,
            "Several lines: end each but the last with a backslash, or Alt-Enter between them, or",
            f"{FENCE} before the first and after the last. Ctrl-C stops an answer.",
        ]
    )
