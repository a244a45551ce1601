"""A chat: what is typed goes to the model or changes the conversation."""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.cli.chat.client import Answer, Client, Cut, RequestFailed
from gateway.cli.chat.conversation import NotATranscript, Transcript
from gateway.cli.chat.slash_commands import Command, Unknown, help_text, parse
from gateway.cli.chat.terminal import Screen


@dataclass(slots=True)
class ChatOptions:
    """The parameters of requests beside the messages."""

    model: str | None = None
    priority: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of OpenAI's API."""

    def body(self, conversation: Transcript) -> dict[str, Any]:
        """The body of a request."""
        body: dict[str, Any] = {**self.options, "messages": conversation.request()}
        if self.model is not None:
            body["model"] = self.model
        if self.priority is not None:
            body["priority"] = number(self.priority)
        return body


def number(text: str) -> float | str:
    """A priority as a body has it: a number, or else a name."""
    try:
        return float(text)
    except ValueError:
        return text


class ChatSession:
    """One conversation with one server."""

    def __init__(
        self, client: Client, screen: Screen, wishes: ChatOptions, system: str | None
    ) -> None:
        self._client = client
        self._screen = screen
        self._wishes = wishes
        self._talk = Transcript(system)

    def run(self, typed: Iterator[str]) -> None:
        """Loop until there is no more to read, or the user leaves."""
        commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: self._screen.note(help_text()),
            "system": self._system,
            "model": self._model,
            "priority": self._priority,
            "save": self._save,
            "load": self._load,
            "retry": self._retry,
            "undo": self._undo,
            "reset": self._reset,
        }
        for text in typed:
            try:
                said = parse(text)
            except Unknown as error:
                self._screen.note(str(error))
                continue
            if not isinstance(said, Command):
                if said.strip():
                    self._ask(said)
            elif said.name == "exit":
                return
            else:
                commands[said.name](said.argument)

    # ------------------------------------------------------------------ words for the model

    def _ask(self, text: str) -> None:
        if self._talk.pending:
            self._talk.undo()  # it failed, and the user says something else now
        self._talk.ask(text)
        self._answer()

    def _answer(self) -> None:
        """Let the model answer; whatever happens, nothing that was said is lost."""
        answer, why = Answer(), ""
        try:
            self._client.chat(self._wishes.body(self._talk), answer, self._screen.text)
        except KeyboardInterrupt:
            why = "stopped"
        except Cut as error:
            why = f"interrupted: {error}"
        except RequestFailed as error:
            self._screen.note(f"error: {error}\nyour words are kept: /retry sends them again")
            return
        self._screen.end()
        if answer.text or not why:
            self._talk.answer(answer.text, cut=bool(why))
        if why == "stopped":
            self._screen.note("stopped; /retry asks again")
        elif why:
            self._screen.note(f"{why}; /retry asks again")
        else:
            self._screen.note(figures(answer))

    # ------------------------------------------------------------------ commands

    def _system(self, text: str) -> None:
        if text:
            self._talk.system = None if text == "-" else text
        shown = self._talk.system
        self._screen.note("no system message" if shown is None else f"system: {shown}")

    def _model(self, name: str) -> None:
        try:
            models = self._client.models()
        except RequestFailed as error:
            self._screen.note(f"error: {error}")
            return
        if not name:
            now = self._wishes.model or (models[0].id if models else None)
            for each in models:
                state = "" if each.state is None else f" ({each.state})"
                self._screen.note(f"{'*' if each.id == now else ' '} {each.id}{state}")
        elif name in (each.id for each in models):
            self._wishes.model = name
            self._screen.note(f"model: {name}")
        else:
            names = ", ".join(each.id for each in models)
            self._screen.note(f"the server has no model '{name}'; it has {names}")

    def _priority(self, name: str) -> None:
        if name:
            self._wishes.priority = name
        self._screen.note(f"priority: {self._wishes.priority or 'normal'}")

    def _save(self, name: str) -> None:
        if not name:
            self._screen.note("/save needs the name of a file")
            return
        try:
            with Path(name).expanduser().open("x", encoding="utf-8") as file:
                file.write(self._talk.saved())
        except FileExistsError:
            self._screen.note(f"{name} is there already, and was left as it is")
        except (OSError, ValueError) as error:
            self._screen.note(f"can't write {name}: {_reason(error)}")
        else:
            self._screen.note(f"{len(self._talk.messages)} messages are in {name}")

    def _load(self, name: str) -> None:
        try:
            self._talk = Transcript.load(Path(name).expanduser().read_text("utf-8"))
        except (OSError, ValueError, NotATranscript) as error:
            self._screen.note(f"can't load {name or 'nothing'}: {_reason(error)}")
        else:
            self._screen.note(f"{len(self._talk.messages)} messages of {name}")

    def _retry(self, _: str) -> None:
        if self._talk.unanswer():
            self._answer()
        else:
            self._screen.note("there is nothing to answer yet")

    def _undo(self, _: str) -> None:
        text = self._talk.undo()
        self._screen.note("there is nothing to forget" if text is None else f"forgotten: {text}")

    def _reset(self, _: str) -> None:
        self._talk.reset()
        self._screen.note("a new conversation")


def figures(answer: Answer) -> str:
    """Return the cost of an answer, in a line."""
    parts = []
    if answer.tokens is not None:
        parts.append(f"{answer.tokens} tokens")
    if answer.rate is not None:
        parts.append(f"{answer.rate:.1f} tokens/s")
    if answer.first_s is not None:
        parts.append(f"first after {answer.first_s:.2f} s")
    if answer.queue_wait_s is not None:
        parts.append(f"{answer.queue_wait_s:.2f} s of it in the queue")
    if answer.cached_tokens:
        parts.append(f"{answer.cached_tokens} of {answer.prompt_tokens} prompt tokens cached")
    if answer.reason == "length":
        parts.append("cut off: --max-tokens, or the context is full")
    return ", ".join(parts)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or errno.errorcode.get(error.errno or 0, str(error))
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
