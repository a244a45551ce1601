"""Pools in memory whose model takes pictures and sound, and small files of both."""

import base64
import struct
import zlib
from typing import Any, Final

import msgspec

from tests.support.answering_pool import MODEL, AnsweringPool
from workers.protocol import Chat, CountTokens, Question


def png(width: int = 2, height: int = 2, colour: bytes = b"\xff\0\0") -> bytes:
    """Return a picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + colour * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def wav(seconds: float = 0.1, rate: int = 16000) -> bytes:
    """Return silence."""
    data = b"\0\0" * int(seconds * rate)
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def encoded(data: bytes) -> str:
    """Return a file in base64."""
    return base64.b64encode(data).decode()


def uri(data: bytes, kind: str = "image/png") -> str:
    """Return a file as an address that holds it."""
    return f"data:{kind};base64,{encoded(data)}"


RED: Final = png()
BLUE: Final = png(colour=b"\0\0\xff")
SILENCE: Final = wav()


class SeeingPool(AnsweringPool):
    """Answers as any pool in memory, and keeps what it was asked."""

    def __init__(self, *, sees: bool = True, hears: bool = True) -> None:
        super().__init__(4)
        self.model = msgspec.structs.replace(MODEL, sees=sees, hears=hears)
        self.counted: list[Chat] = []

    async def ask(self, question: Question) -> bytes:
        """Count seven tokens."""
        assert isinstance(question, CountTokens)
        self.counted.append(question.chat)
        return b'{"input_tokens":7}'

    def chat(self) -> Chat:
        """Return the conversation of the newest generation."""
        prompt = self.submitted[-1].prompt
        assert isinstance(prompt, Chat)
        return prompt


def shown(chat: Chat) -> list[Any]:
    """Return the contents of a conversation, with files in the places of media."""
    return [
        content
        if isinstance(content := message["content"], str)
        else [
            part["text"] if part["type"] == "text" else chat.media[part["at"]].data
            for part in content
        ]
        for message in chat.messages
    ]
