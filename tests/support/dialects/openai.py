"""OpenAI's chats and completions, and the shape of OpenAI's errors."""

from typing import Any

import httpx

from tests.support.dialects.base import DONE, OVERFLOW, Answer, Dialect, Failure

KINDS = {
    408: ("timeout_error",),
    429: ("requests", "tokens", "rate_limit_exceeded", "insufficient_quota"),
    504: ("timeout_error",),
}


def failure_of(status: int, error: dict[str, Any]) -> Failure:
    """An error in OpenAI's shape, which is checked to the last key."""
    numbers = error.keys() & OVERFLOW
    assert error.keys() - numbers == {"message", "type", "param", "code"}
    assert numbers == (OVERFLOW if error["code"] == "context_length_exceeded" else set())
    assert error["message"]
    return Failure(status, error["code"], error["param"], error["message"])


class OpenAIDialect(Dialect):
    """Common part of chats and completions."""

    def refusal(self, response: httpx.Response) -> Failure:
        assert response.headers["content-type"] == "application/json"
        body, status = response.json(), response.status_code
        assert body.keys() - {"usage"} == {"error"}
        usual = "server_error" if status >= 500 else "invalid_request_error"
        assert body["error"]["type"] in KINDS.get(status, (usual,))
        return failure_of(status, body["error"])

    def answer(self, response: httpx.Response) -> Answer:
        body = response.json()
        (choice,) = body["choices"]
        text, reason = self._text(choice), choice["finish_reason"]
        return Answer(text, reason, body["usage"], response.headers, body)

    def ended(self, chunk: Any) -> bool:
        return bool(chunk == DONE)

    def error(self, chunk: Any) -> Failure | None:
        return None if chunk == DONE or "error" not in chunk else failure_of(200, chunk["error"])

    def piece(self, chunk: Any) -> str:
        if chunk == DONE or not chunk.get("choices"):
            return ""
        text = self._text_of_chunk(chunk["choices"][0])
        assert isinstance(text, str)
        return text

    def reason(self, chunks: list[Any]) -> str:
        choices = [chunk["choices"] for chunk in chunks if chunk != DONE]
        (reason,) = (each[0]["finish_reason"] for each in choices if each and _ends(each[0]))
        return str(reason)

    def _text(self, choice: dict[str, Any]) -> Any:
        return choice["text"]

    def _text_of_chunk(self, choice: dict[str, Any]) -> Any:
        return choice["text"]


def _ends(choice: dict[str, Any]) -> bool:
    return choice["finish_reason"] is not None


class Chat(OpenAIDialect):
    name, path, field = "chat", "/v1/chat/completions", "messages"

    def value(self, prompt: str) -> Any:
        return [{"role": "user", "content": prompt}]

    def _text(self, choice: dict[str, Any]) -> Any:
        return choice["message"]["content"]

    def _text_of_chunk(self, choice: dict[str, Any]) -> Any:
        return choice["delta"].get("content", "")


class Completions(OpenAIDialect):
    name, path, field = "completions", "/v1/completions", "prompt"
    overflow = Dialect.overflow.replace("your messages", "your prompt")
