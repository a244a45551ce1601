"""Requests in Ollama's dialect."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

CHAT, GENERATE, EMBED, EMBEDDINGS = (
    f"/api/{name}" for name in ("chat", "generate", "embed", "embeddings")
)
GREEDY: dict[str, Any] = {"temperature": 0}
ENDLESS: dict[str, Any] = {**GREEDY, "stop_token_ids": [], "ignore_eos": True}
CONTEXT = 2048
"""Tokens of the shared server's model."""
WORDS = "wolves live in packs, owls live alone. "


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def post(client: httpx.Client, path: str, status: int = 200, **body: Any) -> Any:
    """A whole answer, or a refusal."""
    response = client.post(path, json={"model": "forge-tiny", "stream": False, **body})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def lines(client: httpx.Client, path: str, **body: Any) -> Iterator[Any]:
    """The lines of a stream, which is the default."""
    request = {"model": "forge-tiny", **body}
    with client.stream("POST", path, json=request) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "application/x-ndjson"
        assert "content-length" not in response.headers
        for line in response.iter_lines():
            yield json.loads(line)
