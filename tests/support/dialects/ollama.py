"""Ollama's chats and prompts."""

import json
from datetime import datetime
from typing import Any

import httpx

from gateway.api.ollama.options import Options
from tests.support.dialects.base import OVERFLOW, Answer, Dialect, Failure

TOP = frozenset(
    {"model", "stream", "format", "think", "logprobs", "top_logprobs", "truncate", "keep_alive"}
    | {"priority", "timeout", "tools", "messages", "prompt", "system", "suffix", "raw", "context"}
)
"""Fields that have no place among the options; those that Forge does not know have none either."""
NEUTRAL = {"temperature": 1, "top_k": 0, "top_p": 1}
"""The other dialects' defaults: what Ollama's own do is shown elsewhere."""
NUMBERS = {
    "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_cached_count",
    "prompt_eval_duration", "eval_count", "eval_duration",
}  # fmt: skip
ENDS = {"done_reason", *NUMBERS}


class OllamaDialect(Dialect):
    """Common part of both."""

    begins = b'{"model"'
    counted = "eval_count"
    open_ended = True
    named = maps = False
    loads = caseless = fractions = True
    stateful = "ignored"
    says: str
    """The field that brings the text."""

    def body(self, prompt: str = "hello", **params: Any) -> dict[str, Any]:
        """Long prompts are refused here, as in the other dialects, and streams are not usual."""
        top = {name: value for name, value in params.items() if name in TOP or not _known(name)}
        options = {name: value for name, value in params.items() if name not in top}
        return {
            self.field: self.value(prompt),
            "stream": False,
            "truncate": False,
            "options": {**NEUTRAL, **options},
            **top,
        }

    def answer(self, response: httpx.Response) -> Answer:
        body = response.json()
        assert self.ended(body)
        prompt, completion = body["prompt_eval_count"], body["eval_count"]
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": body["prompt_eval_cached_count"]},
        }
        return Answer(self.piece(body), body["done_reason"], usage, response.headers, body)

    def refusal(self, response: httpx.Response) -> Failure:
        assert response.headers["content-type"] == "application/json"
        return _failure(response.status_code, response.json())

    def chunk(self, line: str) -> Any:
        return json.loads(line) if line else None

    def ended(self, chunk: Any) -> bool:
        if "error" in chunk:
            return False
        assert datetime.fromisoformat(chunk["created_at"]).tzinfo is not None
        own = {"model", "created_at", "done", self.says}
        more = {"thinking", "logprobs", "context"}
        assert chunk.keys() - more == (own | ENDS if chunk["done"] else own)
        return bool(chunk["done"])

    def error(self, chunk: Any) -> Failure | None:
        return _failure(200, chunk) if "error" in chunk else None

    def piece(self, chunk: Any) -> str:
        return str(chunk.get(self.says, ""))

    def reason(self, chunks: list[Any]) -> str:
        return str(chunks[-1]["done_reason"])


class OllamaChat(OllamaDialect):
    name, path, field, says = "ollama", "/api/chat", "messages", "message"

    def value(self, prompt: str) -> Any:
        return [{"role": "user", "content": prompt}]

    def piece(self, chunk: Any) -> str:
        if "message" not in chunk:
            return ""
        assert chunk["message"]["role"] == "assistant"
        return str(chunk["message"]["content"])


class OllamaGenerate(OllamaDialect):
    name, path, field, says = "ollama-generate", "/api/generate", "prompt", "response"


def _known(name: str) -> bool:
    """Return whether Forge has an option of that name."""
    return name in Options.model_fields


def _failure(status: int, body: dict[str, Any]) -> Failure:
    """An error; the place of an option is told by its name, as the other dialects have it."""
    numbers = body.keys() & OVERFLOW
    assert body.keys() - {"param", "usage"} - numbers == {"error", "code"}
    assert numbers == (OVERFLOW if body["code"] == "context_length_exceeded" else set())
    assert body["error"]
    param = body.get("param")
    return Failure(status, body["code"], param and param.removeprefix("options."), body["error"])
