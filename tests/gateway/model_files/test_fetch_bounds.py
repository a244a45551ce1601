"""Servers that send without end, or not what they say: no disk gets full of it."""

import resource
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import numpy as np
import pytest
from gguf import GGUFWriter

from gateway.core.byte_sizes import GIB, MIB
from gateway.model_files import fetch_bounds, gguf
from gateway.model_files.download import FetchFailed, FileToFetch, client, fetch
from gateway.model_files.fetch_bounds import BEYOND, LOOK_EVERY, MOST_RESERVE, bounded_files, room
from tests.support.hub import sha
from tests.support.server import MODEL

CONTENT = MODEL.read_bytes()
ENDLESS = 40 * MIB
"""Bytes after which a test's endless server gives up: more than any bound lets through."""
SMALL = 100 * MIB


class Disk(NamedTuple):
    total: int
    used: int
    free: int


def endless(begin: bytes) -> Iterator[bytes]:
    """Send a beginning, and zeros behind it."""
    yield begin
    for _ in range(ENDLESS // 65536):
        yield bytes(65536)


class Server:
    """Answers each request with the same headers and a body of its own, and counts its bytes."""

    def __init__(self, begin: bytes = CONTENT, **headers: str) -> None:
        self._begin = begin
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.sent = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=self._headers, content=self._body())

    def _body(self) -> Iterator[bytes]:
        for chunk in endless(self._begin):
            self.sent += len(chunk)
            yield chunk


def fetched(
    folder: Path, server: Server, size: int | None = None, sha256: str | None = None
) -> str:
    """Return why a file did not come, which must be what happens."""
    target = folder / "model.gguf"
    wanted = FileToFetch("https://h.example/model.gguf", target, "model.gguf", size, sha256)
    with client(httpx2.MockTransport(server)) as http, pytest.raises(FetchFailed) as caught:
        fetch(http, wanted, folder / "part", lambda *a, **k: None, lambda pause: None)
    assert not target.exists()
    assert not list(folder.glob("*.validator")) or (folder / "part").exists()
    return str(caught.value)


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder on a disk of 100 MiB, of which 30 are free before anything comes."""

    def usage(folder: Path) -> Disk:
        used = 70 * MIB + sum(each.stat().st_size for each in Path(folder).iterdir())
        return Disk(SMALL, used, SMALL - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return tmp_path


# ------------------------------------------------------------------ a file without end


@pytest.mark.parametrize("server", [Server(), Server(etag='"1"')], ids=["bare", "versioned"])
def test_a_file_ends_where_its_own_contents_do(tmp_path: Path, server: Server) -> None:
    assert "of its own contents; nothing of it is kept" in fetched(tmp_path, server)
    assert server.sent <= len(CONTENT) + BEYOND + LOOK_EVERY
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_known_size_ends_there(tmp_path: Path) -> None:
    """The hub's list has the size, and the answer none, or another one."""
    server = Server()
    line = fetched(tmp_path, server, len(CONTENT), sha(CONTENT))
    assert "more comes than the 5.9 MiB that it was to have; nothing of it is kept" in line
    assert server.sent <= len(CONTENT) + 65536
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_is_not_the_files_is_no_length(tmp_path: Path) -> None:
    server = Server(content_length=str(200 * MIB))
    assert "200 MiB are to come, and its own contents have 5.9 MiB" in fetched(tmp_path, server)
    assert server.sent <= LOOK_EVERY + MIB
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_contents_has_an_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_bounds, "MOST_CONTENTS", 2 * LOOK_EVERY)
    server = Server(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**40))  # a key with a long name
    assert "no list of contents" in fetched(tmp_path, server)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ a disk


@pytest.mark.parametrize(
    ("disk", "there"),
    [
        (Disk(SMALL, 0, 30 * MIB), 29 * MIB),
        (Disk(SMALL, 0, MIB // 2), 0),
        (Disk(10**6 * GIB, 0, 5 * GIB), 5 * GIB - MOST_RESERVE),
    ],
)
def test_a_disk_keeps_its_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, there: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    assert room(tmp_path) == there


def test_what_has_no_room_is_refused_before_it_comes(small_disk: Path) -> None:
    server = Server(content_length=str(30 * MIB))
    line = fetched(small_disk, server)
    assert f"30 MiB are still to come, and the disk of {small_disk} has room for 29 MiB" in line
    assert server.sent <= len(CONTENT)
    assert list(small_disk.iterdir()) == []


def test_the_disk_is_looked_at_while_a_file_comes(small_disk: Path) -> None:
    """Without a length, and of a kind of tensors whose size is not known: only the disk ends it."""
    unknown = small_disk / "unknown.gguf"
    write(unknown)
    begin = unknown.read_bytes()
    unknown.unlink()
    server = Server(begin)
    line = fetched(small_disk, server)
    assert f"the disk of {small_disk} has no room for more" in line
    assert "thrown away, for the server does not tell one version from another" in line
    assert list(small_disk.iterdir()) == []
    assert server.sent < 30 * MIB + LOOK_EVERY


def test_what_an_attempt_can_go_on_from_is_kept(small_disk: Path) -> None:
    unknown = small_disk / "unknown.gguf"
    write(unknown)
    begin = unknown.read_bytes()
    unknown.unlink()
    line = fetched(small_disk, Server(begin, etag='"1"'))
    assert "what came so far is kept" in line
    assert {each.name for each in small_disk.iterdir()} == {"part", "part.validator"}


def write(path: Path) -> None:
    """A small model whose one tensor is of a type that is not known."""
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("x", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    content = path.read_bytes()
    at = content.index(b"x" + (1).to_bytes(4, "little")) + 1 + 4 + 8
    path.write_bytes(content[:at] + (250).to_bytes(4, "little") + content[at + 4 :])


# ------------------------------------------------------------------ the list of contents


def test_the_size_that_a_file_states(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[: len(CONTENT) // 2])
    stated = gguf.stated_size(part)
    assert stated is not None
    assert 0 <= len(CONTENT) - stated < 32, "the last tensor may be padded"
    part.write_bytes(CONTENT[:2000])
    with pytest.raises(gguf.Unreadable):
        gguf.stated_size(part)
    write(part)
    assert gguf.stated_size(part) is None


# ------------------------------------------------------------------ what other programs write


def test_no_file_grows_beyond_a_bound(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with bounded_files(1000), pytest.raises(OSError, match="too large"):
        (tmp_path / "a").write_bytes(bytes(2000))
    assert (tmp_path / "a").stat().st_size == 1000
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    (tmp_path / "a").write_bytes(bytes(2000))
