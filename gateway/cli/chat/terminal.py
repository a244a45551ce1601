"""The two ends of a chat: what is typed, and what is shown."""

import importlib.util
import io
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from gateway.cli.chat.slash_commands import COMMANDS, unfinished
from gateway.system.paths import state_folder

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT, MORE = ">>> ", "... "
WITHOUT = (
    "forge chat: no history, completion or editing of lines without the extra [chat]: "
    "pip install prompt-toolkit"
)
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def harmless(text: str) -> str:
    """``text`` without what a terminal would obey: control characters but newlines and tabs.

    What a model says is not ours: an escape sequence may rename a window, or type into a shell.
    """
    if text.isprintable():
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


class Screen:
    """The output that shows answers as they come; thoughts and notes are dim where possible."""

    def __init__(self, out: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._out = out
        self._styled = out.isatty() and not environment.get("NO_COLOR")
        self._thinking = False
        self._at_start = True
        """True: the cursor is at the beginning of a line."""

    def text(self, text: str, thought: str) -> None:
        """A piece of an answer, and of what was thought before it."""
        if thought:
            self._thinking = True
            self._write(thought, DIM)
        if text and self._thinking:
            self.end()
        self._write(text)

    def note(self, text: str) -> None:
        """A line of ours."""
        self.end()
        self._write(f"{text}\n", DIM)

    def end(self) -> None:
        """An answer is over, or the thoughts before it."""
        self._thinking = False
        if not self._at_start:
            self._write("\n")

    def _write(self, text: str, style: str = "") -> None:
        text = harmless(text)
        if text:
            self._out.write(f"{style}{text}{PLAIN}" if style and self._styled else text)
            self._out.flush()
            self._at_start = text.endswith("\n")


def typed() -> Iterator[str]:
    """Yield the user's entries until there are no more. Ctrl-C drops the line and asks again.

    Raises UnicodeDecodeError for what is not UTF-8.
    """
    if isinstance(sys.stdin, io.TextIOWrapper) and not sys.stdin.isatty():
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield from _piped(sys.stdin)
    elif not _can_edit():
        print(WITHOUT, file=sys.stderr)
        yield from _plain()
    else:
        yield from _edited()


def _can_edit() -> bool:
    try:
        return importlib.util.find_spec("prompt_toolkit") is not None
    except ValueError:  # the module was taken away
        return False


def _plain() -> Iterator[str]:
    """Yield entries that the terminal alone edits."""
    entry = ""
    while True:
        try:
            entry += input(MORE if entry else PROMPT)
        except KeyboardInterrupt:
            print()
            entry = ""
            continue
        except EOFError:
            return
        if unfinished(entry):
            entry += "\n"
        else:
            yield entry
            entry = ""


def _edited() -> Iterator[str]:
    """Yield entries edited with a history, completion and several lines."""
    from prompt_toolkit import PromptSession  # late: it takes a while to import
    from prompt_toolkit.completion import WordCompleter

    session: PromptSession[str] = PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=MORE,
        key_bindings=_keys(),
        history=_history(),
        completer=WordCompleter([f"/{name}" for name in COMMANDS], sentence=True),
        complete_while_typing=False,
    )
    while True:
        try:
            yield session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def _keys() -> "KeyBindings":
    """Return the keys: Enter ends an entry that is finished, Escape and Enter begin a line."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: "KeyPressEvent") -> None:
        buffer = event.current_buffer
        if unfinished(buffer.document.text_before_cursor):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: "KeyPressEvent") -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history() -> "History":
    """Return the history on disk; a chat without a memory is better than none."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        folder = state_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / "history"
        file.touch(mode=0o600)
        return FileHistory(str(file))
    except (OSError, RuntimeError):
        return InMemoryHistory()


def _piped(lines: TextIO) -> Iterator[str]:
    """Lines of a file or a pipe; several are one entry as they are when they are typed."""
    entry = ""
    for line in lines:
        entry += line.rstrip("\n")
        if unfinished(entry):
            entry += "\n"
            continue
        yield entry
        entry = ""
    if entry:
        yield entry
