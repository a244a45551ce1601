"""The size of a prompt, as far as its bytes tell before a worker has counted its tokens. Pure."""

from collections.abc import Iterable
from typing import Any

from workers.protocol import Chat, Infill, Mixed, Prompt, TextPair, Tokens

BYTES_PER_TOKEN = 4
"""The expected size of a token of a prompt, until a worker has counted."""
MEDIUM_TOKENS = 256
"""The expected tokens of a picture or a sound, likewise."""


def usual_bytes(prompt: Prompt) -> int:
    """UTF-8 bytes of the texts in a prompt; token ids count as much as they usually stand for."""
    if isinstance(prompt, Tokens):
        return BYTES_PER_TOKEN * len(prompt.ids)
    if isinstance(prompt, Mixed):
        return sum(_part_bytes(part, BYTES_PER_TOKEN) for part in prompt.parts)
    if isinstance(prompt, Infill):
        named = [text for file in prompt.files or () for text in file]
        return sum(len(t.encode()) for t in (prompt.prefix, prompt.begun, prompt.suffix, *named))
    if isinstance(prompt, Chat):
        media = BYTES_PER_TOKEN * MEDIUM_TOKENS * len(prompt.media)
        return media + sum(_content_bytes(message) for message in prompt.messages)
    if isinstance(prompt, TextPair):
        return len(prompt.query.encode()) + len(prompt.document.encode())
    return len(prompt.text.encode())


def least_bytes(prompt: Prompt, longest_piece: int) -> int:
    """Bytes that are certain to be in the prompt: a template may drop assistant turns and tools.

    ``longest_piece``: bytes of the vocabulary's longest token, as which each given token counts.
    """
    if isinstance(prompt, Tokens):
        return longest_piece * len(prompt.ids)
    if isinstance(prompt, Mixed):
        return sum(_part_bytes(part, longest_piece) for part in prompt.parts)
    if isinstance(prompt, Infill) and prompt.files is not None:
        return len(prompt.begun.encode())  # the worker cuts the rest
    if isinstance(prompt, Chat):
        return sum(_content_bytes(m) for m in prompt.messages if m["role"] == "user")
    return usual_bytes(prompt)


def _part_bytes(part: str | int, token: int) -> int:
    return token if isinstance(part, int) else len(part.encode())


def media_bytes(prompts: Iterable[Prompt]) -> int:
    """Return the bytes of the pictures and sounds of prompts, as files."""
    return sum(
        len(medium.data) for each in prompts if isinstance(each, Chat) for medium in each.media
    )


def media_tokens(prompts: Iterable[Prompt]) -> int:
    """Return the tokens that their pictures and sounds are expected to take."""
    return MEDIUM_TOKENS * sum(len(each.media) for each in prompts if isinstance(each, Chat))


def _content_bytes(message: dict[str, Any]) -> int:
    content = message.get("content")
    if isinstance(content, list):
        return sum(len(part.get("text", "").encode()) for part in content)
    return len(content.encode()) if isinstance(content, str) else 0
