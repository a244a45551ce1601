"""Asks an OpenAI server for chat streams, and notes when each piece of text came.

It shares the machine with the server, so it does little: bytes go through httptools, events through
orjson, and a moment is noted for each that brings text.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import httptools
import orjson

Messages = list[dict[str, str]]
PATIENCE_S = 1200


@dataclass(frozen=True, slots=True)
class Request:
    """One chat to ask for, greedy and of exactly so many tokens."""

    messages: Messages
    max_tokens: int
    cache_prompt: bool | None = None
    """None: nothing is said about it."""
    priority: str | None = None
    """Forge's class; other servers ignore it."""

    def body(self, model: str) -> dict[str, Any]:
        """For an OpenAI server."""
        maybe = {"cache_prompt": self.cache_prompt, "priority": self.priority}
        said = {name: value for name, value in maybe.items() if value is not None}
        return {
            "model": model, "messages": self.messages, "max_tokens": self.max_tokens,
            "stream": True, "stream_options": {"include_usage": True},
            "temperature": 0, "ignore_eos": True, **said,
        }  # fmt: skip


@dataclass(slots=True)
class Answer:
    """The outcome of a request. Moments are those of ``time.perf_counter``, in seconds."""

    asked: float = field(default_factory=time.perf_counter)
    moments: list[float] = field(default_factory=list)
    """Of each piece of text; a piece may hold several tokens."""
    ended: float = 0.0
    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    error: str = ""

    @property
    def ttft(self) -> float:
        """Seconds to the first text."""
        return self.moments[0] - self.asked

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """The pauses between pieces: begin and end."""
        return list(itertools.pairwise(self.moments))


class Asker(Protocol):
    """A system that can be asked: a server, or an engine without one."""

    async def ask(self, request: Request) -> Answer: ...


class Client:
    """Asks the server at ``url``; one connection for each request."""

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._path = address.path.rstrip("/").removesuffix("/v1") + "/v1/chat/completions"
        self._model = model

    async def ask(self, request: Request) -> Answer:
        """Errors are in the answer."""
        body = orjson.dumps(request.body(self._model))
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        answer = Answer()
        try:
            async with asyncio.timeout(PATIENCE_S):
                loop = asyncio.get_running_loop()
                transport, stream = await loop.create_connection(
                    lambda: Stream(answer), self._host, self._port
                )
                transport.write(head.encode() + body)
                try:
                    await stream.over
                finally:
                    transport.abort()
        except (OSError, TimeoutError) as error:
            answer.error = repr(error)
        answer.ended = time.perf_counter()
        if not answer.moments and not answer.error:
            answer.error = "no text"
        answer.tokens = answer.tokens or len(answer.moments)
        return answer


class Stream(asyncio.Protocol):
    """One response; it fills in the answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._now = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("cut off")  # unless the message was complete

    def _end(self, error: str = "") -> None:
        if not self.over.done():
            self._answer.error = self._answer.error or error
            self.over.set_result(None)

    # httptools

    def on_body(self, data: bytes) -> None:
        *events, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            self._event(event)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200:
            error = f"{status}: {self._rest[:200].decode('utf-8', 'replace')}"
            self._rest = b""
            self._end(error)
        self._end()

    def _event(self, event: bytes) -> None:
        data = b"".join(x[5:] for x in event.split(b"\n") if x.startswith(b"data:")).strip()
        if data and data != b"[DONE]":
            self._take(cast(dict[str, Any], orjson.loads(data)))

    def _take(self, chunk: dict[str, Any]) -> None:
        answer = self._answer
        if "error" in chunk:
            answer.error = str(chunk["error"])[:200]
        for choice in chunk.get("choices", ()):
            if text := choice.get("delta", {}).get("content"):
                answer.moments.append(self._now)
                answer.text += text
        if usage := chunk.get("usage"):
            answer.tokens = usage["completion_tokens"]
            answer.prompt_tokens = usage["prompt_tokens"]
            details = usage.get("prompt_tokens_details") or {}
            answer.cached_tokens = details.get("cached_tokens") or 0
