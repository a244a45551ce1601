"""Bytes of hostile clients, as hypothesis strategies, and the way to send them: one by one."""

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

import httpx
from hypothesis import strategies as st

from tests.support.dialects import DIALECTS, Dialect
from tests.support.server import DEADLINE_S, ForgeServer

# --------------------------------------------------------------------------- values

CHARACTERS = st.characters(codec=None)
"""All of them: NUL, escapes, lone surrogates."""
TEXT = st.text(CHARACTERS, max_size=12) | st.sampled_from(
    ["", "\0", "\r\n", "\x1b[2J", "\ud800", "<|im_end|>", "\u202e", "\U0001f600" * 9, "x" * 70_000]
)
INTEGERS = st.integers(-(10**30), 10**30) | st.sampled_from(
    [0, 1, -1, 2, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400]
)
FLOATS = st.floats() | st.sampled_from([1e-320, 1e-45, 1e-38, 0.1, -0.0, 1e308, 1e-6])
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DEEP = st.tuples(st.sampled_from([50, 900, 1100, 5000]), st.sampled_from(["[]", '{"a":}'])).map(
    lambda deep: deep[1][:-1] * deep[0] + "1" + deep[1][-1] * deep[0]
)


def dumped(value: Any) -> str:
    """As JSON; Python writes NaN and lone surrogates too."""
    return json.dumps(value)


# --------------------------------------------------------------------------- bodies

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, 4),
    "temperature": st.floats(0, 100),
    "top_p": st.floats(0, 1),
    "top_k": st.integers(-1, 2**31 - 1),
    "min_p": st.floats(0, 1),
    "seed": st.integers(-(2**63), 2**63 - 1),
    "stop": TEXT | st.lists(TEXT, max_size=4),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "repeat_penalty": st.floats(0, 10),
    "ignore_eos": st.booleans(),
    "priority": st.sampled_from(["batch", "urgent", 0, -1e308, 1e308, 5e-324]) | st.floats(),
    "timeout": st.sampled_from([1e-320, 1e-9, 0.001, 60, 86400]),
    "n": st.integers(1, 3),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
    "service_tier": st.sampled_from(["auto", "default", "flex", "priority"]),
    "user": TEXT,
    "model": TEXT,
    "raw": st.booleans(),
    "logit_bias": st.dictionaries(
        st.integers(0, 2100).map(str), st.floats(-100, 100) | st.just(-100), max_size=5
    )
    | VALUES,
    "typical_p": st.floats(0, 1),
    "top_n_sigma": st.floats(-1, 100),
    "xtc_probability": st.floats(0, 1),
    "xtc_threshold": st.floats(0, 1),
    "dry_multiplier": st.floats(0, 100),
    "dry_sequence_breakers": st.lists(TEXT, max_size=3),
    "dynatemp_range": st.floats(0, 100),
    "repeat_last_n": st.integers(-1, 2**31 - 1),
    "min_keep": st.integers(0, 2**31 - 1),
    "samplers": st.lists(st.sampled_from(["top_k", "typ_p", "dry", "xtc", "x"]), max_size=3),
    "cache_prompt": st.booleans(),
    "cache_salt": TEXT,
    "mirostat": st.integers(0, 2),
    "tools": st.just([]) | VALUES,
    "response_format": st.just({"type": "text"}) | VALUES,
}
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
            "content": TEXT | st.lists(st.fixed_dictionaries({"type": st.just("text")})),
        },
        optional={"name": TEXT, "tool_call_id": TEXT},
    ),
    max_size=4,
)
PROMPTS: dict[str, st.SearchStrategy[Any]] = {
    "query": TEXT,
    "prompt": TEXT | st.lists(TEXT, max_size=3),
    "messages": _MESSAGES,
    "input": TEXT | _MESSAGES,
}


@st.composite
def near_valid(draw: st.DrawFn) -> tuple[Dialect, bytes]:
    """A body that the dialect could take, but for what was done to some of its fields."""
    dialect = draw(st.sampled_from(DIALECTS))
    body = dialect.body(max_tokens=2)
    if draw(st.booleans()):
        body[dialect.field] = draw(PROMPTS[dialect.field])
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4, unique=True)):
        body[name] = draw(FIELDS[name])
    for name in draw(st.lists(st.sampled_from(sorted(body)), max_size=2, unique=True)):
        body[name] = draw(VALUES)
    if draw(st.integers(0, 9)) == 0:
        body[draw(TEXT)] = draw(VALUES)
    text = dumped(bounded(body))
    if draw(st.integers(0, 9)) == 0:
        name = draw(st.sampled_from(sorted(body)))
        text = f"{{{dumped(name)}: {draw(DEEP | VALUES.map(dumped))}, {text[1:]}"
    return dialect, text.encode()


def bounded(body: dict[str, Any]) -> dict[str, Any]:
    """The same without what would be a long generation: that is no one's fault."""
    for name, most in (("max_tokens", 4), ("n", 3)):
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and most < value < 2**31:
            body[name] = most
    if body.get("max_tokens") is None:
        body["max_tokens"] = 1
    return body


# --------------------------------------------------------------------------- HTTP


@dataclass(frozen=True)
class Got:
    """A response, as the bytes said it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def response(self) -> httpx.Response:
        """For the dialect's checks."""
        return httpx.Response(self.status, headers=self.headers.items(), content=self.body)


def connect(server: ForgeServer) -> socket.socket:
    url = httpx.URL(server.url)
    assert url.port is not None
    return socket.create_connection((url.host, url.port), DEADLINE_S)


def exchange(server: ForgeServer, request: bytes, method: str = "POST") -> Got | None:
    """Send a whole request; the response, None if the server hung up instead."""
    with connect(server) as sock:
        with contextlib.suppress(ConnectionError):  # it may be answered before the end
            sock.sendall(request)
        return answer(sock, method)


def answer(sock: socket.socket, method: str = "POST") -> Got | None:
    response = http.client.HTTPResponse(sock, method=method)
    try:
        response.begin()
        return Got(response.status, response.headers, response.read())
    except (http.client.HTTPException, ConnectionError):
        return None
    finally:
        response.close()


def request(
    path: bytes, body: bytes, headers: list[tuple[bytes, bytes]], method: bytes = b"POST"
) -> bytes:
    """A request with exactly these headers."""
    lines = [b"%s %s HTTP/1.1" % (method, path), *(b"%s: %s" % pair for pair in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def usual(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Host", b"forge"), (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
