"""The facts in a server's answer about a file: its length, its begin, its version. Pure."""

import base64
import contextlib
import re
from dataclasses import dataclass

import httpx2

HEXADECIMAL = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class ResponseFacts:
    """The facts in a server's answer about the file."""

    size: int | None
    sha256: str | None
    validator: str | None
    """For If-Range: what came before belongs to this file only if it is the same."""


def begin(response: httpx2.Response) -> int:
    """Return the offset in the file at which an answer begins."""
    match = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("content-range", ""))
    return int(match[1]) if response.status_code == 206 and match else 0


def said(response: httpx2.Response) -> ResponseFacts:
    headers = response.headers
    length = headers.get("content-length", "")
    size = int(length) + begin(response) if re.fullmatch("[0-9]{1,18}", length) else None
    etag = headers.get("etag", "")
    validator = etag if etag.startswith('"') else headers.get("last-modified")
    return ResponseFacts(size, _sha256(headers), validator)


def _sha256(headers: httpx2.Headers) -> str | None:
    """RFC 9530's Repr-Digest, RFC 3230's Digest, the hub's and others' own."""
    for name, pattern in (
        ("repr-digest", r"sha-256=:([^:]+):"),
        ("digest", r"(?i:sha-256)=([^,]+)"),
    ):
        if match := re.search(pattern, headers.get(name, "")):
            with contextlib.suppress(ValueError):
                return base64.b64decode(match[1], validate=True).hex()
    for name in ("x-linked-etag", "x-checksum-sha256"):
        value = headers.get(name, "").strip('"').lower()
        if HEXADECIMAL.fullmatch(value):
            return str(value)
    return None
