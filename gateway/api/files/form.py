"""A form of which one field is a file of any size, written where it belongs as it comes.

Nothing of the file is held but the piece that the connection gave; the other fields are a few, and
short. ``python-multipart`` finds the parts, and bounds their headers: eight of 4 KiB.

An example: the body comes in three pieces, in which the parser finds

    --b CRLF ... name="purpose" ... batch CRLF --b CRLF ... name="file"; filename="a.jsonl" ... {"cu
    stom_id": ...
    ...} CRLF --b-- CRLF

The first piece gives Begin(purpose), Data(batch), End, Begin(file), Data({"cu); then the file's
writer is made, since a wrong purpose is known by now; what the second has goes to the writer, and
the third ends the part and the form. A form whose last boundary is missing is not whole, whatever
its length: nothing is kept of it.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from gateway.api.content_encoding import encodings
from gateway.api.endpoint import FORM
from gateway.api.files.filename import NAMELESS, cleaned
from gateway.api.upload import pieces
from gateway.core.errors import BadRequest, FileTooLarge, UnsupportedEncoding

if TYPE_CHECKING:
    from gateway.stored.incoming import IncomingFile

MOST_FIELDS = 32
MOST_BYTES = 4096
"""Of a field that is not the file."""
ROUND = 64 * 1024
"""Bytes of a form beside its file: fields, headers, boundaries."""

# It tells of each malformed form, with bytes of it; here the answer does.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class PartBegin:
    name: str
    filename: str | None


@dataclass(frozen=True, slots=True)
class PartEnd:
    pass


@dataclass(slots=True)
class ReceivedForm:
    """A form that is whole; its file is to be committed or aborted."""

    file: "IncomingFile"
    filename: str
    fields: dict[str, str] = field(default_factory=dict)


class FormEvents:
    """The parts of a form, from bytes: what was found since the last look."""

    def __init__(self, boundary: bytes) -> None:
        self.ended = False
        self._found: list[PartBegin | PartEnd | bytes] = []
        self._parts = 0
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> list[PartBegin | PartEnd | bytes]:
        """Return what ``data`` completes. Raises BadRequest."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequest(f"the form is malformed: {str(error)[:200]!r}") from None
        found, self._found = self._found, []
        return found

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._parts += 1
        if self._parts > MOST_FIELDS:
            raise BadRequest(f"the form has more than {MOST_FIELDS} fields")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise BadRequest("the form's parts may have no Content-Transfer-Encoding")
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise BadRequest("a part of the form has no 'Content-Disposition: form-data; name=...'")
        filename = options.get(b"filename")
        name = options[b"name"].decode("utf-8", "replace")
        self._found.append(
            PartBegin(name, None if filename is None else filename.decode("utf-8", "replace"))
        )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._found.append(data[start:end])

    def _on_part_end(self) -> None:
        self._found.append(PartEnd())

    def _on_end(self) -> None:
        self.ended = True


class FormReader:
    """Reads one form, whose file is in the field ``name``."""

    def __init__(
        self,
        name: str,
        begin: Callable[[], Awaitable["IncomingFile"]],
        check: Callable[[str, str], None],
    ) -> None:
        """``begin`` makes the file's writer, ``check`` looks at each other field once it is whole:
        it may raise a ForgeError."""
        self._name, self._begin, self._check = name, begin, check
        self._part: PartBegin | None = None
        self._text = bytearray()
        self._fields: dict[str, str] = {}
        self._file: IncomingFile | None = None
        self._filename = NAMELESS

    async def read(self, request: Request, limit: int, timeout: float) -> ReceivedForm:
        """Return the form, whose file has ``limit`` bytes at most.

        ``timeout`` is that of :func:`gateway.api.upload.upload_deadline`. Raises a ForgeError, or
        ClientDisconnect; then nothing is left of it.
        """
        events = FormEvents(_boundary(request))
        too_large = FileTooLarge(f"'{self._name}' is larger than the {limit} bytes it may have")
        async with contextlib.AsyncExitStack() as unless_whole:
            unless_whole.push_async_callback(self._abort)
            async for piece in pieces(request, limit + ROUND, timeout, too_large):
                for event in events.feed(piece):
                    await self._take(event)
            if not events.ended:
                raise BadRequest("the form ends before its last boundary")
            if self._file is None:
                raise BadRequest(f"'{self._name}' is required", param=self._name)
            unless_whole.pop_all()
            return ReceivedForm(self._file, self._filename, self._fields)

    async def _abort(self) -> None:
        if self._file is not None:
            await self._file.abort()

    async def _take(self, event: PartBegin | PartEnd | bytes) -> None:
        if isinstance(event, PartBegin):
            await self._begin_part(event)
        elif isinstance(event, PartEnd):
            self._end_part()
        elif self._is_file:
            assert self._file is not None, "it began"
            await self._file.write(event)
        else:
            self._text += event
            if len(self._text) > MOST_BYTES:
                name = self._shown
                raise BadRequest(f"'{name}': {MOST_BYTES} bytes at most", param=name)

    @property
    def _is_file(self) -> bool:
        return self._part is not None and self._part.name == self._name

    @property
    def _shown(self) -> str:
        return "" if self._part is None else cleaned(self._part.name)[:64]

    async def _begin_part(self, part: PartBegin) -> None:
        self._part = part
        if self._is_file:
            if self._file is not None:
                raise BadRequest(f"'{self._name}' is there twice", param=self._name)
            self._file = await self._begin()
            self._filename = cleaned(part.filename or "")
        elif part.name in self._fields:
            raise BadRequest(f"'{self._shown}' is there twice", param=self._shown)

    def _end_part(self) -> None:
        assert self._part is not None, "it began"
        if not self._is_file:
            text = self._text.decode("utf-8", "replace")
            self._text.clear()
            self._check(self._part.name, text)
            self._fields[self._part.name] = text
        self._part = None


def _boundary(request: Request) -> bytes:
    """Return what separates the parts. Raises BadRequest or UnsupportedEncoding."""
    values = request.headers.getlist("content-encoding")
    if encodings(values):
        raise UnsupportedEncoding("a form is read as it is: send it without Content-Encoding")
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind.decode("latin-1") != FORM:
        raise BadRequest(f"the body must be a form: 'Content-Type: {FORM}; boundary=...'")
    if not 0 < len(boundary) <= 200:
        raise BadRequest("the header Content-Type must have a boundary of 1 to 200 bytes")
    return boundary
