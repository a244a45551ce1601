"""The parts of OpenAI's messages that a template takes in another shape, calls apart. Pure."""

import re
from dataclasses import dataclass

from workers.chat_format.history import Message

THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Names that templates have for a thought. OpenAI-like APIs have the first one."""


@dataclass(frozen=True)
class TemplateQuirks:
    """A template's way to take system messages and earlier thoughts."""

    system_role: bool = True
    """True if it has a place for system messages; else the user's turns tell them."""
    thought_parts: bool = False
    """True if a thought is a part of the content, beside a part of text."""

    def adapt(self, messages: list[Message]) -> list[Message]:
        """The messages in shapes that the template reads."""
        turns = messages if self.system_role else _without_system(messages)
        return [self._with_thought(turn) for turn in turns]

    def _with_thought(self, message: Message) -> Message:
        thought = message.get(THOUGHTS[0])
        if not thought:
            return message
        if self.thought_parts:
            text = message["content"]
            parts = [{"type": "thinking", "thinking": thought}]
            return {
                **message,
                "content": [*parts, {"type": "text", "text": text}][: 1 + bool(text)],
            }
        if message.get("tool_calls") and message.get("content"):
            return message  # gpt-oss has one place for both, which is the text's
        return {**message, **dict.fromkeys(THOUGHTS, thought)}


def template_quirks(source: str) -> TemplateQuirks:
    """Read them from the source of a template without its comments."""
    refused = re.search(r"[Ss]ystem (role|messages?) (is |are )?not supported", source)
    # A template that never looks at the system's role writes whichever it gets, or refuses it.
    ignored = "system" not in source and re.search(r"""["']user["']""", source)
    parts = re.search(r"""type['"]?\]?\s*==\s*['"]thinking['"]""", source)
    named = re.search(r"""[.'"]reasoning(_content)?\b""", source)
    return TemplateQuirks(
        system_role=not (refused or ignored), thought_parts=bool(parts) and not named
    )


def _without_system(messages: list[Message]) -> list[Message]:
    """System messages at the head of the user's next turn, or at the end of the last one."""
    turns: list[Message] = []
    told: list[str] = []
    for message in messages:
        if message["role"] in ("system", "developer"):
            told.append(message["content"])
        elif told and message["role"] == "user":
            turns.append({**message, "content": "\n\n".join([*told, message["content"]])})
            told = []
        else:
            turns.append(message)
    if told and turns and turns[-1]["role"] == "user":
        told.insert(0, turns.pop()["content"])
    return [*turns, {"role": "user", "content": "\n\n".join(told)}] if told else turns
