"""A client of OpenAI's chat API, as far as a terminal needs one."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx2

from gateway.core.loopback import is_this_machine

CONNECT_S = 5.0
SILENCE_S = 600.0
"""Without a byte. Forge sends comments to a stream that waits, others may compute for long."""
KEEPALIVE_S = 60
"""Without a byte, after which the system asks whether the other side is still there."""


class RequestFailed(Exception):
    """The reason why there is no answer, in the server's words where it gave some."""


class Cut(RequestFailed):
    """The connection broke in the middle of an answer."""


@dataclass(slots=True)
class Answer:
    """An answer as it came, and its speed. Times in seconds."""

    text: str = ""
    reasoning: str = ""
    reason: str | None = None
    """The reason of its end; None if it did not come to it."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    tokens: int | None = None
    queue_wait_s: float | None = None
    """From arrival to a slot, as the server tells."""
    first_s: float | None = None
    """From the request to the first text."""
    seconds: float = 0.0

    @property
    def rate(self) -> float | None:
        """Tokens per second from the first one to the last."""
        if self.tokens is None or self.tokens < 2 or self.first_s is None:
            return None
        return (self.tokens - 1) / max(self.seconds - self.first_s, 1e-9)


@dataclass(frozen=True, slots=True)
class ServerModel:
    """One that a server has; ``state`` is Forge's word for whether it is loaded, if it said."""

    id: str
    state: str | None = None


Hear = Callable[[str, str], None]
"""Is told each piece as it comes: text, and reasoning."""


class Client:
    """One server."""

    def __init__(self, url: str, key: str | None) -> None:
        """``url``: with or without the ``/v1`` that clients of OpenAI want at its end.

        Raises :class:`RequestFailed` if it is none.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        if not _is_address(self.url):
            raise RequestFailed(f"{url!r} is no address of a server, such as http://127.0.0.1:8080")
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
        # A proxy of the environment is for the world, and knows nothing of this machine's ports.
        self._http = httpx2.Client(
            base_url=self.url, headers=headers, timeout=timeout, trust_env=not _here(self.url)
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def models(self) -> list[ServerModel]:
        """Return the models that the server has. Raises :class:`RequestFailed`."""
        try:
            response = self._http.get("/v1/models", timeout=CONNECT_S)
        except httpx2.HTTPError as error:
            raise RequestFailed(f"{self.url} does not answer: {_said(error)}") from error
        if response.status_code != 200:
            raise RequestFailed(_refusal(response))
        try:
            return [
                ServerModel(str(each["id"]), each.get("state")) for each in response.json()["data"]
            ]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise RequestFailed(f"{self.url} does not speak OpenAI's API") from None

    def get(self, path: str) -> Any:
        """Return the JSON at a path. Raises :class:`RequestFailed`."""
        try:
            response = self._http.get(path)
        except httpx2.HTTPError as error:
            raise RequestFailed(f"{self.url} does not answer: {_said(error)}") from error
        if response.status_code != 200:
            raise RequestFailed(_refusal(response))
        try:
            return response.json()
        except ValueError:
            raise RequestFailed(f"{self.url} sent what is not JSON") from None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        """Send JSON, and return the whole answer, an error too. Raises :class:`RequestFailed`."""
        try:
            sent = {**headers, "Content-Type": "application/json"}
            return self._http.post(path, content=body, headers=sent)
        except httpx2.HTTPError as error:
            raise RequestFailed(f"{self.url} does not answer: {_said(error)}") from error

    def slots(self, model: str | None) -> int | None:
        """Return how many requests the server computes at once; None if it does not tell."""
        query = {} if model is None else {"model": model}
        try:
            found = self._http.get("/props", params=query).json()["total_slots"]
        except (httpx2.HTTPError, ValueError, LookupError, TypeError):
            return None
        return found if isinstance(found, int) and found > 0 else None

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON object that one of Forge's own endpoints answers with.

        Raises :class:`RequestFailed`.
        """
        try:
            response = self._http.request(method, path, params=query, json=body)
        except httpx2.HTTPError as error:
            raise RequestFailed(f"{self.url} does not answer: {_said(error)}") from error
        if response.status_code != 200:
            raise RequestFailed(_refusal(response))
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RequestFailed(f"{self.url} does not speak Forge's API")
        return found

    def asynchronous(self, connections: int) -> httpx2.AsyncClient:
        """Return a client of the same server, with so many connections, that waits for answers.

        A request may wait for hours until it has an answer, so silence is no failure; the system
        asks now and then if the other side is still there.
        """
        alive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        if hasattr(socket, "TCP_KEEPIDLE"):
            alive.append((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S))
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx2.AsyncClient(
            base_url=self.url,
            headers=self._http.headers,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            transport=httpx2.AsyncHTTPTransport(limits=limits, socket_options=alive)
            if _here(self.url)
            else None,
            limits=limits,
            trust_env=not _here(self.url),
        )

    def chat(self, body: Mapping[str, Any], answer: Answer, hear: Hear) -> None:
        """Ask, and fill ``answer`` while it comes; ``hear`` is told each piece.

        Raises :class:`RequestFailed`, or :class:`Cut` after a part of the answer. When this is left
        in another way the connection is closed, upon which a server gives the rest up.
        """
        begin = time.monotonic()
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        try:
            with self._http.stream("POST", "/v1/chat/completions", json=streamed) as response:
                if response.status_code != 200:
                    response.read()
                    raise RequestFailed(_refusal(response))
                answer.queue_wait_s = _seconds(response.headers.get("x-queue-wait"))
                for event in _events(response.iter_lines(), answer):
                    self._take(event, answer, begin, hear)
        except httpx2.HTTPError as error:
            if answer.text or answer.reasoning:
                raise Cut(f"the server went away: {_said(error)}") from error
            raise RequestFailed(f"{self.url} does not answer: {_said(error)}") from error
        finally:
            answer.seconds = time.monotonic() - begin
        if answer.reason is None:
            raise Cut("the server ended the answer before its end")

    def _take(self, event: dict[str, Any], answer: Answer, begin: float, hear: Hear) -> None:
        """One chunk. Raises :class:`RequestFailed` for an error."""
        error = event.get("error")
        if error is not None:
            message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
            raise Cut(message) if answer.text else RequestFailed(message)
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            text, thought = delta.get("content") or "", delta.get("reasoning_content") or ""
            if (text or thought) and answer.first_s is None:
                answer.first_s = time.monotonic() - begin
            answer.text += text
            answer.reasoning += thought
            if text or thought:
                hear(text, thought)
            answer.reason = choice.get("finish_reason") or answer.reason
        usage = event.get("usage")
        if usage:
            answer.prompt_tokens = usage.get("prompt_tokens")
            answer.tokens = usage.get("completion_tokens")
            answer.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")


def _events(lines: Iterator[str], answer: Answer) -> Iterator[dict[str, Any]]:
    """The data of server-sent events; comments may tell how long the request waited."""
    for line in lines:
        if line.startswith(": queue-wait "):
            answer.queue_wait_s = _seconds(line.rpartition(" ")[2])
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise Cut("the server sent what is not JSON") from None
        if isinstance(event, dict):
            yield event


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _refusal(response: httpx2.Response) -> str:
    """An error's answer in words, and when to come back if it says."""
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        message = f"the server answered {response.status_code}"
    if response.status_code == 401:
        message += " (--api-key, or FORGE_API_KEY)"
    later = response.headers.get("retry-after")
    return message if later is None else f"{message}; try again in {later} s"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _is_address(url: str) -> bool:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def _here(url: str) -> bool:
    return is_this_machine(httpx2.URL(url).host)
