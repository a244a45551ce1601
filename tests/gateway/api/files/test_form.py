"""Forms in pieces of any size, and forms that are meant to harm."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from gateway.api.files.form import MOST_BYTES, MOST_FIELDS, ROUND, FormReader, ReceivedForm
from gateway.core.errors import BadRequest, BodyTimeout, FileTooLarge, ForgeError, StorageFull

LIMIT = 100_000
B = "boundary"


@dataclass
class KeptFile:
    """A file in memory, with what became of it."""

    data: bytearray = field(default_factory=bytearray)
    most: int = 10**9
    aborted: int = 0
    largest: int = 0

    async def write(self, data: bytes) -> None:
        self.largest = max(self.largest, len(data))
        self.data += data
        if len(self.data) > self.most:
            raise StorageFull("full")

    async def abort(self) -> None:
        self.aborted += 1


class Reading:
    """One form that is read, from pieces of a body."""

    def __init__(self, most: int = 10**9) -> None:
        self.files: list[KeptFile] = []
        self.checked: list[tuple[str, str]] = []
        self._most = most

    async def _begin(self) -> Any:
        self.files.append(KeptFile(most=self._most))
        return self.files[-1]

    def _check(self, name: str, value: str) -> None:
        self.checked.append((name, value))
        if value == "wrong":
            raise BadRequest("wrong", param=name)

    def read(
        self,
        pieces: Sequence[bytes],
        headers: Sequence[tuple[str, str]] | None = None,
        *,
        hangs_up: bool = False,
        stalls: bool = False,
    ) -> ReceivedForm:
        kind = [("content-type", f"multipart/form-data; boundary={B}")]
        given = kind if headers is None else headers
        raw = [(name.encode(), value.encode("latin-1")) for name, value in given]
        left = list(pieces)

        async def receive() -> dict[str, Any]:
            if left:
                piece = left.pop(0)
                return {
                    "type": "http.request",
                    "body": piece,
                    "more_body": bool(left) or hangs_up or stalls,
                }
            if stalls:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        request = Request({"type": "http", "headers": raw}, receive)
        reader = FormReader("file", self._begin, self._check)
        return asyncio.run(reader.read(request, LIMIT, 0.05 if stalls else 30))


def part(name: str, value: bytes, more: str = "", headers: str = "") -> bytes:
    head = f'--{B}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{B}--\r\n".encode()


PURPOSE = part("purpose", b"batch")


def split(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = [0, *sorted({each % (len(data) + 1) for each in at}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


NASTY = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"-", b"--", f"--{B}".encode(), f"\r\n--{B[:-1]}".encode(), b"x"]
    )
).map(b"".join)


@given(
    st.one_of(st.binary(max_size=300), NASTY).filter(
        lambda each: f"\r\n--{B}".encode() not in each
    ),
    st.lists(st.integers(0, 2000), max_size=8),
    st.booleans(),
)
def test_it_does_not_matter_how_it_is_cut(value: bytes, at: list[int], first: bool) -> None:
    if f"--{B}".encode() in value[: len(B) + 2]:
        value = b"x" + value  # directly behind the headers it is a boundary, too
    file = part("file", value, '; filename="a.jsonl"', "Content-Type: text/plain\r\n")
    body = form(file, PURPOSE) if first else form(PURPOSE, file)
    reading = Reading()
    found = reading.read(split(body, at))
    (kept,) = reading.files
    assert (bytes(kept.data), kept.aborted) == (value, 0)
    assert (found.fields, found.filename) == ({"purpose": "batch"}, "a.jsonl")


def test_it_is_never_held_whole() -> None:
    reading = Reading()
    head = part("file", b"")[:-2]
    pieces = [head, *[bytes(1000)] * 99, f"\r\n--{B}--".encode()]
    reading.read(pieces)
    (kept,) = reading.files
    assert len(kept.data) == 99_000
    assert kept.largest <= 1000


FILE = part("file", b"x", '; filename="a"')
MANY_HEADERS = "".join(f"X-{at}: a\r\n" for at in range(99))
LONG_NAME = f'--{B}\r\nContent-Disposition: form-data; name="{"x" * 5000}"\r\n\r\nx\r\n'.encode()
REFUSED: dict[str, tuple[bytes, str | None]] = {
    "empty": (b"", None),
    "no last boundary": (PURPOSE + FILE, None),
    "only the end": (f"--{B}--".encode(), "file"),
    "cut in a header": (PURPOSE + FILE[:30], None),
    "cut in the file": (FILE[:-2], None),
    "another boundary": (form(FILE).replace(B.encode(), b"other"), None),
    "text before": (b"hello" + form(FILE), None),
    "no file": (form(PURPOSE), "file"),
    "two files": (form(FILE, FILE), "file"),
    "a field twice": (form(PURPOSE, PURPOSE, FILE), "purpose"),
    "a field too large": (form(part("purpose", b"x" * (MOST_BYTES + 1)), FILE), "purpose"),
    "a field that is wrong": (form(part("purpose", b"wrong"), FILE), "purpose"),
    "a wrong field behind the file": (form(FILE, part("purpose", b"wrong")), "purpose"),
    "many fields": (form(*(part(f"f{at}", b"") for at in range(MOST_FIELDS + 1)), FILE), None),
    "thousands": (form(*(part(f"f{at}", b"") for at in range(900))), None),
    "a long header": (form(LONG_NAME, FILE), None),
    "many headers": (
        form(part("file", b"", "", "".join(f"X-{n}: a\r\n" for n in range(99)))),
        None,
    ),
    "a header without an end": (f"--{B}\r\nX: {'a' * 90_000}".encode(), None),
    "a bare header": (f"--{B}\r\nhello\r\n\r\nx\r\n--{B}--".encode(), None),
    "no disposition": (form(f"--{B}\r\nX: a\r\n\r\nx\r\n".encode()), None),
    "no name": (form(f"--{B}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode()), None),
    "an attachment": (form(FILE.replace(b"form-data", b"attachment")), None),
    "base64": (form(part("file", b"eA==", "", "Content-Transfer-Encoding: base64\r\n")), None),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_refused_and_leaves_nothing(what: str) -> None:
    body, param = REFUSED[what]
    for pieces in ([body], split(body, range(0, len(body), 7 if len(body) < 5000 else 1000))):
        reading = Reading()
        with pytest.raises(BadRequest) as caught:
            reading.read(pieces)
        assert caught.value.param == param
        assert len(caught.value.message) < 400
        assert all(kept.aborted == 1 for kept in reading.files)


def test_a_wrong_field_ends_it_before_the_file() -> None:
    reading = Reading()
    with pytest.raises(BadRequest):
        reading.read([part("purpose", b"wrong"), FILE])
    assert reading.files == []


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'b' * 201}",
        "multipart/mixed; boundary=boundary",
        "\xff\xfe; boundary=boundary",
    ],
)
def test_what_is_no_form_is_refused(kind: str) -> None:
    with pytest.raises(BadRequest):
        Reading().read([form(FILE)], [("content-type", kind)])


@pytest.mark.parametrize(
    "kind", [f'multipart/form-data; boundary="{B}"', f"MULTIPART/Form-Data;boundary={B}"]
)
def test_other_spellings(kind: str) -> None:
    assert Reading().read([form(FILE)], [("content-type", kind)]).filename == "a"


def test_a_form_is_not_compressed() -> None:
    headers = [("content-type", f"multipart/form-data; boundary={B}"), ("content-encoding", "gzip")]
    with pytest.raises(ForgeError) as caught:
        Reading().read([form(FILE)], headers)
    assert caught.value.status == 415


def test_too_much_is_refused_at_once_if_it_says_so() -> None:
    kind = ("content-type", f"multipart/form-data; boundary={B}")
    reading = Reading()
    with pytest.raises(FileTooLarge):
        reading.read([], [kind, ("content-length", str(LIMIT + ROUND + 1))])
    with pytest.raises(FileTooLarge):
        reading.read([FILE[:-2], *[bytes(10_000)] * 50])
    (kept,) = reading.files
    assert kept.aborted == 1


def test_what_follows_the_end_is_bounded() -> None:
    reading = Reading()
    assert reading.read([form(FILE), b"epilogue"]).filename == "a"
    with pytest.raises(FileTooLarge):
        reading.read([form(FILE), *[b"-" * 10_000] * 50])


def test_a_client_that_hangs_up_leaves_nothing() -> None:
    reading = Reading()
    with pytest.raises(ClientDisconnect):
        reading.read([FILE[:-2]], hangs_up=True)
    assert [kept.aborted for kept in reading.files] == [1]


def test_a_client_that_sends_nothing_more_leaves_nothing() -> None:
    reading = Reading()
    with pytest.raises(BodyTimeout):
        reading.read([FILE[:-2]], stalls=True)
    assert [kept.aborted for kept in reading.files] == [1]


def test_a_full_disk_ends_it() -> None:
    reading = Reading(most=10)
    with pytest.raises(StorageFull):
        reading.read([part("file", bytes(100))])
    assert [kept.aborted for kept in reading.files] == [1]


@pytest.mark.parametrize(
    ("filename", "kept"),
    [
        ("../../../root/.ssh/authorized_keys", "authorized_keys"),
        ("a\\b\\c.txt", "c.txt"),
        ("\x1b[2Ja.txt", "[2Ja.txt"),
        ("ü.txt", "ü.txt"),
        ('quo\\"te.txt', 'quo"te.txt'),
    ],
)
def test_names(filename: str, kept: str) -> None:
    body = form(part("file", b"x", f'; filename="{filename}"'))
    assert Reading().read([body]).filename == kept
