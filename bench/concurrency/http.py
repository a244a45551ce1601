"""The part of HTTP/1.1 that the small servers of the experiments need. Pure.

A request ends where its Content-Length says, an answer says how long it is, and the connection
stays: what the study project's servers left out, and what a client can't do without.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

HEAD_END = b"\r\n\r\n"
REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"}

Work = Callable[[bytes], bytes]
"""From the body of a request to that of its answer. Raises ValueError for what it can't read."""


class Request(NamedTuple):
    """The head of a request, and how much comes after it."""

    method: str
    path: str
    length: int
    """Bytes of the body."""
    keep: bool
    """True if the client wants to go on using the connection."""


def parse(head: bytes) -> Request:
    """The head, with or without the empty line after it. Raises ValueError."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, version = first.split(" ")
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    keep = fields.get("connection", "").lower() != "close" and version == "HTTP/1.1"
    return Request(method, path, int(fields.get("content-length", "0")), keep)


def answer(status: int, body: bytes, *, keep: bool) -> bytes:
    """A whole answer."""
    connection = b"keep-alive" if keep else b"close"
    return (
        b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Connection: %s\r\n\r\n%s" % (status, REASONS[status], len(body), connection, body)
    )


def respond(request: Request, body: bytes, path: str, work: Work, *, keep: bool) -> bytes:
    """The answer of a server that works at ``path``, and is healthy."""
    if (request.method, request.path) == ("GET", "/health"):
        return answer(200, b'{"status": "ok"}', keep=keep)
    if (request.method, request.path) != ("POST", path):
        return answer(404, b'{"error": "there is nothing here"}', keep=keep)
    try:
        return answer(200, work(body), keep=keep)
    except ValueError as error:
        return answer(400, json.dumps({"error": str(error)}).encode(), keep=keep)


def reverse(body: bytes) -> bytes:
    """The study project's work: every value of a JSON object, backwards. Raises ValueError."""
    given = json.loads(body)
    if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
        raise ValueError("expected a JSON object of strings")
    return json.dumps({"data": [value[::-1] for value in given.values()]}).encode()
