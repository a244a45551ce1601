"""Clients of all dialects, and what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import orjson

from .asking import MODEL, Request

PATIENCE_S = 300
"""Ends a wait for an answer that will not come: an error, and no measure of speed."""
TOKEN_S = 0.005
"""The time of a token, about; a client of a whole answer that leaves goes by the clock."""
PATHS = {"infer": "/infer", "completions": "/v1/completions"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The part that must be the same however the answer came to be."""

    texts: tuple[str, ...]
    """One for each choice."""
    reasons: tuple[str | None, ...]
    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class Outcome:
    """One request, asked once."""

    request: Request
    leave_after: int | None = None
    """Tokens after which the client hangs up."""
    error: str = ""
    """The error, in the client's eyes; empty if there was none."""
    left: bool = False
    """True if it hung up before the end."""
    answer: Answer | None = None
    """The whole of it."""
    texts: list[str] = field(init=False)
    """The answer of each choice."""
    stamps: array[float] = field(default_factory=lambda: array("d"))
    """Times at which the pieces of a stream came: seconds on the monotonic clock."""

    def __post_init__(self) -> None:
        self.texts = [""] * self.request.n


@dataclass(frozen=True, slots=True)
class _Piece:
    """Content of one event of a stream."""

    index: int = 0
    text: str = ""
    reason: str | None = None
    usage: tuple[int, int] | None = None


class Refused(Exception):
    """The server answered with an error."""


class Clients:
    """One pool of connections for all of them, to one server."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        self._http = httpx.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE_S)
        self._openai = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S
        )

    async def close(self) -> None:
        await self._http.aclose()
        await self._openai.close()

    async def ask(self, request: Request, leave_after: int | None = None) -> Outcome:
        """One request from its first byte to its last, or until the client leaves."""
        outcome = Outcome(request, leave_after)
        await self.follow(outcome)
        return outcome

    async def follow(self, outcome: Outcome) -> None:
        """The same, for those who want to watch how ``outcome`` grows."""
        try:
            if outcome.request.stream:
                await self._stream(outcome)
            else:
                await self._whole(outcome)
        except (httpx.HTTPError, openai.APIError, Refused, ValueError, KeyError) as error:
            outcome.error = f"{type(error).__name__}: {error}"

    # ------------------------------------------------------------------ whole answers

    async def _whole(self, outcome: Outcome) -> None:
        request = outcome.request
        leave_s = None if outcome.leave_after is None else outcome.leave_after * TOKEN_S
        try:
            async with asyncio.timeout(leave_s):
                if request.dialect == "chat":
                    outcome.answer = await self._chat(request)
                else:
                    outcome.answer = await self._post(request)
        except TimeoutError:
            outcome.left = True
        else:
            outcome.texts = list(outcome.answer.texts)

    async def _post(self, request: Request) -> Answer:
        response = await self._http.post(PATHS[request.dialect], json=request.body())
        if response.status_code != 200:
            raise Refused(f"{response.status_code} {response.text}")
        body = orjson.loads(response.content)
        if request.dialect == "infer":
            return _answer([(body["response"], body["finish_reason"])], body["usage"])
        found = [(choice["text"], choice["finish_reason"]) for choice in body["choices"]]
        return _answer(found, body["usage"])

    async def _chat(self, request: Request) -> Answer:
        body = request.body()
        messages = body.pop("messages")
        answer = await self._openai.chat.completions.create(
            model=MODEL, messages=messages, extra_body=body
        )
        assert answer.usage is not None
        found = [(choice.message.content or "", choice.finish_reason) for choice in answer.choices]
        return _answer(found, answer.usage.model_dump())

    # ------------------------------------------------------------------ streams

    async def _stream(self, outcome: Outcome) -> None:
        request = outcome.request
        pieces = self._chat_pieces if request.dialect == "chat" else self._pieces
        reasons: list[str | None] = [None] * request.n
        usage: tuple[int, int] | None = None
        async with contextlib.aclosing(pieces(request)) as found:
            async for piece in found:
                if piece.text:
                    outcome.stamps.append(time.monotonic())
                outcome.texts[piece.index] += piece.text
                reasons[piece.index] = piece.reason or reasons[piece.index]
                usage = piece.usage or usage
                if outcome.leave_after is not None and len(outcome.stamps) >= outcome.leave_after:
                    outcome.left = True
                    return
        if usage is None:
            raise Refused("the stream ended without its usage")
        outcome.answer = Answer(tuple(outcome.texts), tuple(reasons), *usage)

    async def _pieces(self, request: Request) -> AsyncGenerator[_Piece]:
        """A stream read by hand: it must end with [DONE]."""
        body = {**request.body(), "stream": True, "stream_options": {"include_usage": True}}
        done = False
        async with self._http.stream("POST", PATHS[request.dialect], json=body) as response:
            if response.status_code != 200:
                raise Refused(f"{response.status_code} {(await response.aread()).decode()}")
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    yield _piece(orjson.loads(line.removeprefix("data: ")))
        if not done:
            raise Refused("the stream ended without [DONE]")

    async def _chat_pieces(self, request: Request) -> AsyncGenerator[_Piece]:
        """A stream as the official client reads it; it raises on an error event."""
        body = request.body()
        messages = body.pop("messages")
        stream = await self._openai.chat.completions.create(
            model=MODEL,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=body,
        )
        async with stream:
            async for chunk in stream:
                if chunk.usage is not None:
                    usage = chunk.usage
                    yield _Piece(usage=(usage.prompt_tokens, usage.completion_tokens))
                for choice in chunk.choices:
                    text = choice.delta.content or ""
                    yield _Piece(choice.index, text, choice.finish_reason)


def _answer(found: Sequence[tuple[str, str]], usage: dict[str, Any]) -> Answer:
    texts, reasons = zip(*found, strict=True)
    return Answer(texts, reasons, usage["prompt_tokens"], usage["completion_tokens"])


def _piece(chunk: dict[str, Any]) -> _Piece:
    if "error" in chunk:
        raise Refused(f"an error event: {chunk['error']}")
    if not chunk["choices"]:
        usage = chunk["usage"]
        return _Piece(usage=(usage["prompt_tokens"], usage["completion_tokens"]))
    (choice,) = chunk["choices"]
    return _Piece(choice["index"], choice["text"], choice["finish_reason"])
