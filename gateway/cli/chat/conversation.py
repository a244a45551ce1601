"""The messages so far and their roles; saved and loaded as JSON. Pure."""

import json
from dataclasses import dataclass, field
from typing import Any

ROLES = ("user", "assistant")


class NotATranscript(Exception):
    """The reason why a text is not a conversation, in one line."""


@dataclass(slots=True)
class TranscriptMessage:
    """``role``: of :data:`ROLES`. ``cut``: it was interrupted, so that this is not all of it."""

    role: str
    content: str
    cut: bool = False


@dataclass(slots=True)
class Transcript:
    """The user's words and the model's in turns, after the operator's if there are any."""

    system: str | None = None
    messages: list[TranscriptMessage] = field(default_factory=list)

    def ask(self, text: str) -> None:
        """The user says something."""
        self.messages.append(TranscriptMessage("user", text))

    def answer(self, text: str, *, cut: bool = False) -> None:
        """The model answered."""
        self.messages.append(TranscriptMessage("assistant", text, cut))

    @property
    def pending(self) -> bool:
        """Tell if the user's last words have no answer."""
        return bool(self.messages) and self.messages[-1].role == "user"

    def undo(self) -> str | None:
        """Forget the user's last words, and what was answered; those words, if there were any."""
        while self.messages:
            last = self.messages.pop()
            if last.role == "user":
                return last.content
        return None

    def unanswer(self) -> bool:
        """Forget the answer to the user's last words; whether there is anything to answer now."""
        while self.messages and self.messages[-1].role == "assistant":
            self.messages.pop()
        return self.pending

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages.clear()

    def request(self) -> list[dict[str, str]]:
        """The messages as OpenAI's API takes them."""
        first = [] if self.system is None else [{"role": "system", "content": self.system}]
        return first + [{"role": each.role, "content": each.content} for each in self.messages]

    # ------------------------------------------------------------------ files

    def saved(self) -> str:
        """Return a JSON document, an object with ``messages`` as OpenAI's API takes them."""
        messages: list[dict[str, Any]] = [*self.request()]
        for shown, each in zip(reversed(messages), reversed(self.messages), strict=False):
            if each.cut:
                shown["cut"] = True
        return json.dumps({"messages": messages}, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> "Transcript":
        """Read what :meth:`saved` wrote. Raises :class:`NotATranscript`."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise NotATranscript(f"it is not JSON: {error}") from None
        given = document.get("messages") if isinstance(document, dict) else document
        if not isinstance(given, list):
            raise NotATranscript("it has no list of messages")
        found = cls()
        for at, each in enumerate(given):
            found._add(at, each)
        return found

    def _add(self, at: int, given: Any) -> None:
        role = given.get("role") if isinstance(given, dict) else None
        content = given.get("content") if isinstance(given, dict) else None
        if not isinstance(content, str):
            raise NotATranscript(f"messages[{at}] has no content that is a text")
        if role == "system" and at == 0:
            self.system = content
        elif role in ROLES:
            self.messages.append(TranscriptMessage(role, content, given.get("cut") is True))
        else:
            raise NotATranscript(f"messages[{at}] is of no role that a chat has: {role!r}")
