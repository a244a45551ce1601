"""The path that a request means, and what there is near one that means nothing."""

import asyncio
from functools import cache
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.types import Message, Scope

from gateway.app import Gateway
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from gateway.http.paths import MAX_COMPARED, MOST_NEAR, PathTable
from tests.support.answering_pool import AnsweringPool

SHOWN = {
    "/v1/chat/completions": "POST /v1/chat/completions",
    "/v1/completions": "POST /v1/completions",
    "/v1/embeddings": "POST /v1/embeddings",
    "/v1/models": "GET /v1/models",
    "/infer": "POST /infer",
    "/health": "GET /health",
    "/tokenize": "POST /tokenize",
    "/detokenize": "POST /detokenize",
}
PATHS = [*SHOWN, "/", "/v1/models/{name:path}", "/models/load", "/queue", "/queue/{name}"]
TABLE = PathTable(PATHS, SHOWN)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/infer", "/infer"),
        ("/infer/", "/infer"),
        ("//infer//", "/infer"),
        ("/v1//chat///completions//", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/v1//v1/models", "/v1/models"),
        ("/v1/v1", "/v1"),
        ("/v1/", "/v1"),
        ("/v1x/v1/models", "/v1x/v1/models"),
        ("/v1v1/models", "/v1v1/models"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions/", "/v1/completions"),
        ("/embeddings", "/v1/embeddings"),
        ("/models", "/v1/models"),
        ("/models/", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("/models/org/name", "/v1/models/org/name"),
        ("/v1/models/org//name/", "/v1/models/org/name"),
        ("/queue/", "/queue"),
        ("/queue/abc/", "/queue/abc"),
        # What is there under its own name is not taken for another.
        ("/models/load", "/models/load"),
        ("/models/load/", "/models/load"),
        ("/v1/infer", "/v1/infer"),
        # Encoded slashes are parts of names.
        ("/v1/models/org%2F%2Fname%2F", "/v1/models/org//name/"),
        ("/v1/models/%76%31/v1/v1", "/v1/models/v1/v1/v1"),
        ("/v1/chat%2Fcompletions", "/v1/chat/completions"),
        ("/v1%2F%2Fmodels", "/v1//models"),
        ("/in%66er/", "/infer"),
        # Never another host's, never another folder's.
        ("//evil.example/v1/models", "/evil.example/v1/models"),
        ("//evil.example", "/evil.example"),
        ("/v1/../health", "/v1/../health"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_find(raw: str, path: str) -> None:
    assert TABLE.find(raw) == path


segments = st.sampled_from(["v1", "", "chat", "completions", "models", "load", "infer", "x", "%41"])


@given(st.lists(segments, max_size=9).map(lambda parts: "/" + "/".join(parts)))
def test_the_path_found_is_found_again_as_it_is(raw: str) -> None:
    """Of each two spellings that mean one endpoint there is one form."""
    found = TABLE.find(raw)
    assert TABLE.find(found) == found
    assert "//" not in found
    assert found == "/" or not found.endswith("/")


def test_a_long_path_costs_little() -> None:
    """Its time is linear: these would not end."""
    for raw in ("/v1" * 500_000, "/" * 2_000_000, "/v1/" * 500_000 + "x"):
        assert TABLE.find(raw) in ("/v1", "/", "/v1/x")
    assert TABLE.near("/infer" * 500_000) == ["POST /infer"]


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/v1/chat/completion", "POST /v1/chat/completions"),
        ("/v1/chat", "POST /v1/chat/completions"),
        ("/v1/Chat/Completions", "POST /v1/chat/completions"),
        ("/api/chat", "POST /v1/chat/completions"),
        ("/completion", "POST /v1/completions"),
        ("/api/embeddings", "POST /v1/embeddings"),
        ("/v1/model", "GET /v1/models"),
        ("/v1/health", "GET /health"),
        ("/healthz", "GET /health"),
        ("/v1/infer", "POST /infer"),
        ("/tokenise", "POST /tokenize"),
        ("/v1", "POST /v1/chat/completions"),
    ],
)
def test_near(path: str, first: str) -> None:
    near = TABLE.near(path)
    assert near[0] == first
    assert len(near) == len(set(near)) <= MOST_NEAR


@pytest.mark.parametrize("path", ["", "*", "/", "/zzz", "/.env", "/wp-login.php", "/\0", "/v11"])
def test_nothing_near(path: str) -> None:
    assert TABLE.near(path) == []


class Guarded:
    """A whole gateway with a key, and what it says to clients that have none."""

    def __init__(self) -> None:
        keyring = Keyring.load(SecretStr("sk-guarded"), None)
        self._gateway = Gateway(Config(), keyring, AnsweringPool(1))
        self._app = self._gateway.app()
        self.open = {each.path for each in self._gateway.front.endpoints if each.open}
        self.find = self._gateway.front.paths.find

    def status(self, method: str, raw: str) -> int:
        """The status of a request without a key, whose path is sent as it is."""
        return asyncio.run(self._status(method, raw))

    async def _status(self, method: str, raw: str) -> int:
        found: list[int] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Message) -> None:
            found.extend([message["status"]] if "status" in message else [])

        scope: Scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(raw), "raw_path": raw.encode(), "query_string": b"", "headers": [],
            "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await self._app(scope, receive, send)
        (status,) = found
        return status


guarded = cache(Guarded)
odd = st.sampled_from(
    [
        *("", "v1", "%76%31", "%2F", "%2f%2F", ".", "..", "%2e%2e", "health", "docs", "HEALTH"),
        *("infer", "metrics", "models", "chat", "completions", "%00", "health%2F", ";", "%3F"),
        *("openapi.json", "queue", "dashboard", "events", "page.js"),
    ]
)


@given(
    raw=st.lists(odd, max_size=6).map(lambda parts: "/" + "/".join(parts)),
    method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]),
)
def test_no_spelling_gets_past_the_key(raw: str, method: str) -> None:
    """Whatever it is, it is refused, or the path that is served is one of the open ones."""
    reading = method in ("GET", "HEAD")
    expected = reading and guarded().find(raw) in guarded().open
    assert (guarded().status(method, raw) != 401) == expected


@given(st.text(max_size=2 * MAX_COMPARED))
def test_near_names_known_paths_only(path: str) -> None:
    near = TABLE.near(path)
    assert set(near) <= set(SHOWN.values())
    assert len(near) == len(set(near)) <= MOST_NEAR
