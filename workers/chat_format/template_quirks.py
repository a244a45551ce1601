"""The parts of OpenAI's messages that a template takes in another shape, calls apart. Pure."""

import re
from dataclasses import dataclass

from workers.chat_format.history import Message

THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Names that templates have for a thought. OpenAI-like APIs have the first one."""


@dataclass(frozen=True)
class TemplateQuirks:
    """A template's way to take earlier thoughts."""

    thought_parts: bool = False
    """True if a thought is a part of the content, beside a part of text."""

    def adapt(self, messages: list[Message]) -> list[Message]:
        """The messages in shapes that the template reads."""
        return [self._with_thought(turn) for turn in messages]

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
    parts = re.search(r"""type['"]?\]?\s*==\s*['"]thinking['"]""", source)
    named = re.search(r"""[.'"]reasoning(_content)?\b""", source)
    return TemplateQuirks(thought_parts=bool(parts) and not named)
