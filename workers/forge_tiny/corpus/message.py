"""The shape of a conversation, in the field names of the OpenAI chat API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True)
class CorpusConversation:
    """The chat template's input; or plain text, as raw completions have it."""

    messages: list[Message]
    tools: list[Tool] = field(default_factory=list)
    text: str = ""


def exchange(question: str, answer: str) -> list[Message]:
    """One user turn and one assistant turn."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
