"""OpenAI's Responses."""

from types import MappingProxyType
from typing import Any

import httpx

from tests.support.dialects.base import Answer, Failure
from tests.support.dialects.openai import OpenAIDialect

ENDS = {"response.completed": "completed", "response.incomplete": "incomplete"}


class Responses(OpenAIDialect):
    name, path, field = "responses", "/v1/responses", "input"
    open_ended = True
    streamed_codes = MappingProxyType({"deadline_exceeded": "server_error"})

    def answer(self, response: httpx.Response) -> Answer:
        body = response.json()
        return Answer(_text(body), _reason(body), _usage(body), response.headers, body)

    def ended(self, chunk: Any) -> bool:
        return chunk["type"] in ENDS

    def error(self, chunk: Any) -> Failure | None:
        assert "error" not in chunk, "OpenAI's client would raise an error of its own"
        if chunk["type"] != "response.failed":
            return None
        error = chunk["response"]["error"]
        assert error.keys() == {"code", "message"}
        return Failure(200, error["code"], None, error["message"])

    def piece(self, chunk: Any) -> str:
        return str(chunk["delta"]) if chunk["type"] == "response.output_text.delta" else ""

    def reason(self, chunks: list[Any]) -> str:
        last = chunks[-1]
        assert last["response"]["status"] == ENDS[last["type"]]
        return _reason(last["response"])

    def chunks(self, lines: Any) -> list[Any]:
        """Each event has its type in a line of its own, too."""
        return typed(lines, super().chunks)


def typed(lines: Any, chunks: Any) -> list[Any]:
    """The chunks in lines, each of which follows a line with its type."""
    lines = list(lines)
    found: list[Any] = chunks(lines)
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert kinds == [chunk["type"] for chunk in found]
    return found


def _text(body: dict[str, Any]) -> str:
    parts = [item["content"] for item in body["output"] if item["type"] == "message"]
    return "".join(part["text"] for content in parts for part in content)


def _reason(body: dict[str, Any]) -> str:
    if body["status"] == "completed":
        called = any(item["type"] == "function_call" for item in body["output"])
        return "tool_calls" if called else "stop"
    assert body["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    return "length"


def _usage(body: dict[str, Any]) -> dict[str, Any]:
    """The counts in a chat's words."""
    given = body["usage"]
    return {
        "prompt_tokens": given["input_tokens"],
        "completion_tokens": given["output_tokens"],
        "total_tokens": given["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": given["input_tokens_details"]["cached_tokens"]},
    }
