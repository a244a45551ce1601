"""The dialects as data, so that one suite tests them all."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

DONE = "[DONE]"
REASONS = {"max_tokens": "length", "model_context_window_exceeded": "length"}
MESSAGE = {
    "id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"
}  # fmt: skip
OVERFLOW = {"n_prompt_tokens", "n_ctx"}
"""Beside the message about a prompt that is too long."""


@dataclass(frozen=True)
class Failure:
    """An error in any dialect's shape."""

    status: int
    code: str
    param: str | None
    message: str


@dataclass(frozen=True)
class Answer:
    """A generation in any dialect's shape."""

    text: str
    reason: str
    usage: dict[str, Any]
    headers: httpx.Headers
    body: Any


@dataclass(frozen=True)
class Dialect:
    """How to ask, and how to read what comes back."""

    name: str
    path: str
    field: str
    """Where the prompt goes."""

    def body(self, prompt: str = "hello", **params: Any) -> dict[str, Any]:
        value = [{"role": "user", "content": prompt}] if self.field == "messages" else prompt
        return {self.field: value, **params}

    def ask(
        self,
        client: httpx.Client,
        prompt: str = "hello",
        headers: dict[str, str] | None = None,
        **params: Any,
    ) -> Answer:
        """A whole answer; anything but 200 fails the test."""
        response = client.post(self.path, json=self.body(prompt, **params), headers=headers)
        assert response.status_code == 200, response.text
        body = response.json()
        if self.name == "messages":
            return _of_message(body, response.headers)
        if self.name == "infer":
            text, reason = body["response"], body["finish_reason"]
        elif self.name == "responses":
            return Answer(*of_response(body), response.headers, body)
        else:
            (choice,) = body["choices"]
            text = choice["message"]["content"] if self.name == "chat" else choice["text"]
            reason = choice["finish_reason"]
        return Answer(text, reason, body["usage"], response.headers, body)

    def refusal(self, response: httpx.Response) -> Failure:
        """The error in a response; its shape is checked to the last key."""
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        if self.name == "messages":
            return _of_messages_error(response.status_code, body, response.headers)
        if self.name == "infer":
            numbers = body.keys() & OVERFLOW
            assert body.keys() - {"param"} - numbers == {"error", "code"}
            failure = Failure(response.status_code, body["code"], body.get("param"), body["error"])
        else:
            assert body.keys() == {"error"}
            error = body["error"]
            numbers = error.keys() & OVERFLOW
            assert error.keys() - numbers == {"message", "type", "param", "code"}
            kinds = {429: ("requests", "tokens", "rate_limit_exceeded")}
            usual = "server_error" if response.status_code >= 500 else "invalid_request_error"
            assert error["type"] in kinds.get(response.status_code, (usual,))
            failure = Failure(response.status_code, error["code"], error["param"], error["message"])
        assert failure.message
        assert numbers == (OVERFLOW if failure.code == "context_length_exceeded" else set())
        return failure

    def stream(self, client: httpx.Client, prompt: str = "hello", **params: Any) -> list[Any]:
        """All chunks of a stream, without the final [DONE], which must be there."""
        body = self.body(prompt, stream=True, **params)
        with client.stream("POST", self.path, json=body) as response:
            assert response.status_code == 200, response.read()
            lines = list(response.iter_lines())
        events = list(data_of(iter(lines)))
        if self.name == "messages":
            found = [json.loads(event) for event in events]
            kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
            assert kinds == [event["type"] for event in found]
            assert kinds[-1] in ("message_stop", "error")
            return found
        if self.name == "responses":
            return [json.loads(event) for event in events]
        assert events.pop() == DONE
        return [json.loads(event) for event in events]

    def piece(self, chunk: Any) -> str:
        """The text that a chunk brings."""
        if self.name == "messages":
            return str(chunk.get("delta", {}).get("text", ""))
        if self.name == "responses":
            brings = chunk["type"] == "response.output_text.delta"
            return str(chunk["delta"]) if brings else ""
        if not chunk["choices"]:
            return ""
        choice = chunk["choices"][0]
        text = choice["delta"].get("content", "") if self.name == "chat" else choice["text"]
        assert isinstance(text, str)
        return text

    def joined(self, chunks: list[Any]) -> str:
        return "".join(map(self.piece, chunks))


def _of_message(body: Any, headers: httpx.Headers) -> Answer:
    """A message, with its reason and its counts in the other dialects' words."""
    assert body.keys() == MESSAGE
    assert headers["request-id"] == f"req_{headers['x-request-id']}"
    text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
    usage = body["usage"]
    prompt = usage["input_tokens"] + usage["cache_read_input_tokens"]
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": usage["output_tokens"],
        "total_tokens": prompt + usage["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["cache_read_input_tokens"]},
    }
    reason = REASONS.get(body["stop_reason"], "stop")
    return Answer(text, reason, counts, headers, body)


def _of_messages_error(status: int, body: Any, headers: httpx.Headers) -> Failure:
    assert body.keys() == {"type", "error", "request_id"}
    assert body["request_id"] == headers["request-id"] == f"req_{headers['x-request-id']}"
    assert headers["x-should-retry"] == ("true" if status in (408, 429, 503) else "false")
    error = body["error"]
    assert error.keys() - {"param", "details"} == {"type", "message", "code"}
    assert error["message"]
    return Failure(status, error["code"], error.get("param"), error["message"])


def data_of(lines: Iterator[str]) -> Iterator[str]:
    """The data of server-sent events."""
    for line in lines:
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


def of_response(body: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The text, the reason to end and the usage of a response, as a chat tells them."""
    items = {item["type"]: item for item in body["output"]}
    text = "".join(part["text"] for part in items.get("message", {"content": []})["content"])
    reason = "tool_calls" if "function_call" in items else "stop"
    if body["status"] != "completed":
        assert (body["status"], body["incomplete_details"]) == (
            "incomplete",
            {"reason": "max_output_tokens"},
        )
        reason = "length"
    given = body["usage"]
    usage = {
        "prompt_tokens": given["input_tokens"],
        "completion_tokens": given["output_tokens"],
        "total_tokens": given["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": given["input_tokens_details"]["cached_tokens"]},
    }
    return text, reason, usage


INFER = Dialect("infer", "/infer", "query")
CHAT = Dialect("chat", "/v1/chat/completions", "messages")
COMPLETIONS = Dialect("completions", "/v1/completions", "prompt")
MESSAGES = Dialect("messages", "/v1/messages", "messages")
OPENAI = [CHAT, COMPLETIONS]
RESPONSES = Dialect("responses", "/v1/responses", "input")
DIALECTS = [INFER, *OPENAI, RESPONSES, MESSAGES]
