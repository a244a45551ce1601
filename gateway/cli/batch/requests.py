"""The requests in the lines of a file, read one by one."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from gateway.batches.input_line import LineWrong, input_line, shown

URLS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/score",
    "/v2/rerank",
    "/rerank",
    "/score",
)
LONGEST = 64 * 2**20
"""Bytes of a line."""
MOST_NAMED = 20
"""Wrong lines that are named; the others are counted."""


class BatchRefused(Exception):
    """The user's files or options can't be used; nothing was asked."""


@dataclass(frozen=True, slots=True)
class LineRequest:
    """A line."""

    custom_id: str
    url: str
    body: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class AskedModel:
    """The model that all lines ask for, whatever they say; ``name`` None: the server's first."""

    name: str | None


def requests(path: Path, model: AskedModel | None = None) -> Iterator[LineRequest]:
    """Yield the requests of a file that was checked. Raises :class:`BatchRefused`."""
    for number, data in _lines(path):
        try:
            yield _request(data, model)
        except LineWrong as wrong:
            raise BatchRefused(f"{path}, line {number}: {wrong.message}") from None


def check(path: Path, say: Callable[[str], None]) -> dict[str, int]:
    """Read a whole file; return the digests of its ids, and their lines.

    ``say`` is told each wrong line. Raises :class:`BatchRefused`.
    """
    found: dict[str, int] = {}
    wrong = 0
    for number, data in _lines(path):
        try:
            request = _request(data, None)
            first = found.setdefault(digest(request.custom_id), number)
            if first != number:
                message = f"the custom_id {shown(request.custom_id)} is that of line {first}, too"
                raise LineWrong("duplicate_custom_id", message)
        except LineWrong as error:
            wrong += 1
            if wrong <= MOST_NAMED:
                say(f"{path}, line {number}: {error.message}")
    if wrong:
        lines = "1 line is" if wrong == 1 else f"{wrong} lines are"
        raise BatchRefused(f"{path}: {lines} wrong, and nothing was run")
    if not found:
        raise BatchRefused(f"{path} has no lines")
    return found


def digest(custom_id: str) -> str:
    """Return what stands for an id in memory, however long it is."""
    return hashlib.blake2b(custom_id.encode(), digest_size=16).hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers. Raises :class:`BatchRefused`."""
    try:
        with path.open("rb") as file:
            number = 0
            while data := file.readline(LONGEST + 1):
                number += 1
                if len(data) > LONGEST:
                    raise BatchRefused(f"{path}, line {number}: it has more than {LONGEST} bytes")
                if data.strip():
                    yield number, data
    except OSError as error:
        raise BatchRefused(f"can't read {path}: {error.strerror}") from error


def _request(data: bytes, model: AskedModel | None) -> LineRequest:
    """Return what a line asks for. Raises LineWrong."""
    line = input_line(data, URLS)
    body = line.body
    if model is not None:
        body = {name: value for name, value in body.items() if name != "model"}
        if model.name is not None:
            body["model"] = model.name
    try:
        return LineRequest(line.custom_id, line.url, orjson.dumps(body))
    except TypeError as error:  # nested more deeply than is written, though it was read
        raise LineWrong("invalid_json_line", f"'body': {error}") from None
