"""llama-server's own dialect: /completion."""

from typing import Any, ClassVar

import httpx

from tests.support.dialects.base import OVERFLOW, Answer, Dialect, Failure

REASONS = {"limit": "length", "eos": "stop", "word": "stop"}


def failure_of(error: dict[str, Any]) -> Failure:
    """An error in llama-server's shape, which is checked to the last key."""
    numbers = error.keys() & OVERFLOW
    assert error.keys() - numbers - {"param"} == {"code", "message", "type", "reason"}
    assert numbers == (OVERFLOW if error["reason"] == "context_length_exceeded" else set())
    assert error["message"]
    return Failure(error["code"], error["reason"], error.get("param"), error["message"])


class LlamaServer(Dialect):
    """Its chunks carry the text; the last one all else."""

    name, path, field = "llama-server", "/completion", "prompt"
    counted = "tokens_predicted"
    named = False
    uncut: ClassVar[dict[str, Any]] = {"top_k": 0, "top_p": 1, "min_p": 0}
    overflow = (
        r"a prompt of (?P<tokens>\d+) tokens and its answer exceeds the available context size "
        r"of (?P<limit>\d+) tokens"
    )

    def refusal(self, response: httpx.Response) -> Failure:
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert body.keys() == {"error"}
        assert body["error"]["code"] == response.status_code
        return failure_of(body["error"])

    def answer(self, response: httpx.Response) -> Answer:
        body = response.json()
        prompt, completion = body["tokens_evaluated"], body["tokens_predicted"]
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": body["timings"]["cache_n"]},
        }
        reason = REASONS[body["stop_type"]]
        return Answer(body["content"], reason, usage, response.headers, body)

    def ended(self, chunk: Any) -> bool:
        return bool(chunk.get("stop"))

    def error(self, chunk: Any) -> Failure | None:
        return failure_of(chunk["error"]) if "error" in chunk else None

    def piece(self, chunk: Any) -> str:
        return str(chunk.get("content", ""))

    def reason(self, chunks: list[Any]) -> str:
        return REASONS[chunks[-1]["stop_type"]]
