"""The study project's dialect: its words are those in which all are asked."""

from typing import Any

import httpx

from tests.support.dialects.base import OVERFLOW, Answer, Dialect, Failure


class Infer(Dialect):
    name, path, field = "infer", "/infer", "query"
    streams = False

    def answer(self, response: httpx.Response) -> Answer:
        body = response.json()
        return Answer(
            body["response"], body["finish_reason"], body["usage"], response.headers, body
        )

    def refusal(self, response: httpx.Response) -> Failure:
        assert response.headers["content-type"] == "application/json"
        body: dict[str, Any] = response.json()
        numbers = body.keys() & OVERFLOW
        assert body.keys() - {"param", "usage"} - numbers == {"error", "code"}
        assert numbers == (OVERFLOW if body["code"] == "context_length_exceeded" else set())
        assert body["error"]
        return Failure(response.status_code, body["code"], body.get("param"), body["error"])
