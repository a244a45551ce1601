"""Anthropic's Messages."""

from typing import Any

import httpx

from tests.support.dialects.base import Answer, Dialect, Failure
from tests.support.dialects.responses import typed

REASONS = {"max_tokens": "length", "model_context_window_exceeded": "length"}
MESSAGE = {
    "id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"
}  # fmt: skip


class Messages(Dialect):
    name, path, field = "messages", "/v1/messages", "messages"
    open_ended = True
    overflow = r"prompt is too long: (?P<tokens>\d+) tokens > (?P<limit>\d+) maximum"

    def value(self, prompt: str) -> Any:
        return [{"role": "user", "content": prompt}]

    def answer(self, response: httpx.Response) -> Answer:
        """A message, with its reason and its counts in the other dialects' words."""
        body, headers = response.json(), response.headers
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

    def refusal(self, response: httpx.Response) -> Failure:
        body, headers = response.json(), response.headers
        assert headers["content-type"] == "application/json"
        assert body["request_id"] == headers["request-id"] == f"req_{headers['x-request-id']}"
        used_up = body["error"]["code"] == "insufficient_quota"  # for hours or days
        retries = response.status_code in (408, 429, 503) and not used_up
        assert headers["x-should-retry"] == ("true" if retries else "false")
        return _failure(response.status_code, body)

    def chunks(self, lines: Any) -> list[Any]:
        """Without the line of its type, Anthropic's client skips an event."""
        return typed(lines, super().chunks)

    def ended(self, chunk: Any) -> bool:
        return bool(chunk["type"] == "message_stop")

    def error(self, chunk: Any) -> Failure | None:
        return _failure(200, chunk) if chunk["type"] == "error" else None

    def piece(self, chunk: Any) -> str:
        return str(chunk.get("delta", {}).get("text", ""))

    def reason(self, chunks: list[Any]) -> str:
        (delta,) = (chunk["delta"] for chunk in chunks if chunk["type"] == "message_delta")
        return REASONS.get(delta["stop_reason"], "stop")


def _failure(status: int, body: dict[str, Any]) -> Failure:
    assert body.keys() == {"type", "error", "request_id"}
    error = body["error"]
    assert error.keys() - {"param", "details"} == {"type", "message", "code"}
    assert error["message"]
    return Failure(status, error["code"], error.get("param"), error["message"])
