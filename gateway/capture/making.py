"""A recording becomes what is stored: decoded, without long pictures, redacted.

It takes milliseconds for a large body, so it belongs in a thread.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.capture.pieces import joined, leaves, lines
from gateway.capture.recording import RecordedBody, Recording
from gateway.capture.redaction import SPELT, Redactor
from gateway.core.errors import ForgeError
from gateway.stored.captures import StoredCapture

JSON = "application/json"
KEPT_HEADERS = frozenset(
    (
        *("accept", "anthropic-beta", "anthropic-version", "content-encoding", "content-type"),
        *("openai-beta", "user-agent", "x-priority", "x-session-id", "x-stainless-lang"),
        *("x-stainless-package-version", "x-stainless-retry-count", "x-stainless-timeout"),
    )
)
"""Headers of a request that are kept. No other one is: keys, cookies and addresses have many
names."""
LONGEST_HEADER = 512
LONGEST_NAME = 256
"""Characters of a model's name."""
BLOB = 8192
"""Characters of base64 that are kept of one text."""
_BASE64 = re.compile(r"(?:data:[^,]{0,256},)?[A-Za-z0-9+/_=\r\n-]+")
ENCODING = b"content-encoding"

Decode = Callable[[bytes, Sequence[str], int], bytes | bytearray]
"""Takes away what a list of Content-Encoding headers names; the bytes that may come of it."""


@dataclass(frozen=True, slots=True)
class EndedRecording:
    """A recording, and what is known of its request beside the bytes."""

    recording: Recording
    owner: str
    request_id: str
    ended_s: float
    """Unix seconds."""
    model: str
    """The model that it was for; "": it never came to that."""
    outcome: str
    error: tuple[str, str] | None
    """Its code and its message."""
    figures: dict[str, Any]
    """Its times and tokens."""
    seed: int | None


class CaptureMaker:
    """Makes rows."""

    def __init__(self, redactor: Redactor, decode: Decode, most: int) -> None:
        """``most``: bytes of a body."""
        self._redactor, self._decode, self._most = redactor, decode, most

    def row(self, ended: EndedRecording) -> StoredCapture:
        """Return what is stored of a request."""
        recording = ended.recording
        notes = list[str]()
        request, whole = self._request(recording, notes)
        kind = _header(recording.answer_headers, b"content-type")
        answer = self._body("answer", recording.answer, kind, notes)
        facts = {
            "path": recording.path,
            "dialect": recording.group,
            "request_id": ended.request_id,
            "created": recording.began_s,
            "seconds": round(max(0.0, ended.ended_s - recording.began_s), 6),
            "error": self._error(ended.error),
            "seed": ended.seed,
            **ended.figures,
            "headers": self._headers(recording),
            "content_type": kind,
            "request_bytes": recording.request.size,
            "answer_bytes": recording.answer.size,
            "notes": notes,
            "replayable": whole,
        }
        return StoredCapture(
            id=recording.id,
            owner=ended.owner,
            model=ended.model or self._named(request),
            status=recording.status,
            outcome=ended.outcome,
            created_at=int(recording.began_s),
            facts=orjson.dumps(facts),
            request=request,
            answer=answer,
        )

    def _request(self, recording: Recording, notes: list[str]) -> tuple[bytes, bool]:
        """Return the body, and whether it can be sent again."""
        side = recording.request
        encodings = [each.decode("latin-1") for name, each in recording.headers if name == ENCODING]
        if encodings and not side.cut:
            try:
                plain = bytes(self._decode(b"".join(side.pieces), encodings, self._most))
            except ForgeError as error:
                notes.append(f"the request is not kept: {error.message}")
                return b"", False
            side = RecordedBody([plain], len(plain), len(plain))
        before = b"".join(side.pieces)
        body = self._body("request", side, JSON, notes)
        whole = not side.cut and isinstance(lines(body, JSON)[0].value, dict)
        if whole and body != before:
            notes.append("the request is redacted, and a replay sends it so")
            whole = SPELT.encode() not in body
        elif not whole and not side.cut:
            notes.append("the request is no JSON object")
        body, blobs = without_blobs(body)
        if blobs:
            notes.append(f"of the request {blobs} long texts in base64 are left out")
        if not whole or blobs:
            notes.append("it can't be replayed")
        return body, whole and not blobs

    def _body(self, what: str, side: RecordedBody, kind: str, notes: list[str]) -> bytes:
        if side.cut and self._redactor:
            notes.append(
                f"the {what} is not kept: it has {side.size} bytes, and of a part of it patterns "
                "can't tell what to redact"
            )
            return b""
        if side.cut:
            notes.append(f"the {what} is cut: {side.kept} of its {side.size} bytes are kept")
        return self._redactor.body(b"".join(side.pieces), kind)

    def _headers(self, recording: Recording) -> dict[str, str]:
        named = [(name.decode("latin-1"), value) for name, value in recording.headers]
        return {
            name: self._redactor.text(value.decode("latin-1")[:LONGEST_HEADER])
            for name, value in named
            if name in KEPT_HEADERS
        }

    def _error(self, error: tuple[str, str] | None) -> dict[str, str] | None:
        if error is None:
            return None
        return {"code": error[0], "message": self._redactor.text(error[1])}

    def _named(self, request: bytes) -> str:
        """Return the model that a request names, of which nothing else came."""
        value = lines(request, JSON)[0].value
        name = value.get("model") if isinstance(value, dict) else None
        return name[:LONGEST_NAME] if isinstance(name, str) else ""


def without_blobs(body: bytes) -> tuple[bytes, int]:
    """Return a body without long texts in base64, such as pictures, and the number of those."""
    if len(body) <= BLOB:
        return body, 0
    found, number = lines(body, JSON), 0
    for leaf in [*leaves(found)]:
        text = leaf.value
        if isinstance(text, str) and len(text) > BLOB and _BASE64.fullmatch(text):
            leaf.home[leaf.at] = f"[{len(text)} characters of base64 are left out]"
            number += 1
    return (joined(found), number) if number else (body, 0)


def _header(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> str:
    return next((each.decode("latin-1") for name, each in headers if name == wanted), "")
