"""Files on a real server: memory, a full disk, slow clients, two servers, a restart."""

import hashlib
import os
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.support.killing import whole
from tests.support.server import ALIAS, DEADLINE_S, ForgeServer, eventually
from tests.support.traffic import Streaming

MIB = 1024 * 1024
B = "boundary"
HEAD = (
    f"POST /v1/files HTTP/1.1\r\nHost: forge\r\nContent-Type: multipart/form-data; boundary={B}\r\n"
)
FIELDS = (
    f'--{B}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{B}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
).encode()
LIMITED = sys.platform == "linux"
"""Limits of another process can be set."""


def put(server: ForgeServer, data: Any, **more: Any) -> httpx.Response:
    """Send a file; ``data``: its bytes, or an open file."""
    with server.client() as client:
        fields = {"purpose": "batch", **more}
        return client.post("/v1/files", data=fields, files={"file": ("a.jsonl", data)})


def begun(server: ForgeServer, data: bytes, announced: int) -> socket.socket:
    """An upload that does not end."""
    host, port = server.url.removeprefix("http://").split(":")
    sock = socket.create_connection((host, int(port)), DEADLINE_S)
    sock.sendall(f"{HEAD}Content-Length: {announced}\r\n\r\n".encode() + FIELDS + data)
    return sock


def status(sock: socket.socket) -> int:
    return int(sock.recv(65536).split()[1])


def files_in(folder: Path, name: str) -> list[Path]:
    return sorted((folder / name).iterdir())


def peak_kib(server: ForgeServer) -> int:
    """The most memory that the gateway has ever held."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "data"


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    options = ("--workers", "1", "--slots", "4", "--threads", "1", "--data-dir", str(folder))
    server = ForgeServer(tmp_path_factory.mktemp("server"), *options, "--body-timeout", "2")
    yield server.wait_ready()
    server.kill()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is found in /proc")
def test_a_large_file_takes_no_memory(server: ForgeServer, folder: Path, tmp_path: Path) -> None:
    path, size = tmp_path / "large", 150 * MIB
    with path.open("wb") as stream:
        stream.truncate(size)
    put(server, b"first").raise_for_status()
    before = peak_kib(server)
    with path.open("rb") as stream:
        made = put(server, stream).json()
    assert made["bytes"] == size
    digest, total = hashlib.sha256(), 0
    with server.client() as client:
        with client.stream("GET", f"/v1/files/{made['id']}/content") as response:
            for piece in response.iter_bytes():
                digest.update(piece)
                total += len(piece)
        client.delete(f"/v1/files/{made['id']}")
    assert total == size
    assert digest.digest() == hashlib.sha256(bytes(size)).digest()
    assert peak_kib(server) - before < 40 * 1024
    assert all(each.stat().st_size < MIB for each in files_in(folder, "blobs"))


def test_an_upload_that_breaks_off_leaves_nothing(server: ForgeServer, folder: Path) -> None:
    blobs = files_in(folder, "blobs")
    with begun(server, bytes(3 * MIB), 9 * MIB):
        eventually(lambda: files_in(folder, "unfinished"), "it is being written")
        assert files_in(folder, "blobs") == blobs
    eventually(lambda: not files_in(folder, "unfinished"), "it is gone")
    assert files_in(folder, "blobs") == blobs


def test_a_client_that_stops_is_told_and_forgotten(server: ForgeServer, folder: Path) -> None:
    with begun(server, bytes(2 * MIB), 9 * MIB) as sock:
        eventually(lambda: files_in(folder, "unfinished"), "it is being written")
        assert status(sock) == 408
    eventually(lambda: not files_in(folder, "unfinished"), "it is gone")


def test_a_wrong_purpose_is_told_before_the_file_has_come(server: ForgeServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as sock:
        wrong = FIELDS.replace(b"batch", b"fine-tune")
        sock.sendall(f"{HEAD}Content-Length: {10**8}\r\n\r\n".encode() + wrong)
        assert status(sock) == 400


@pytest.mark.skipif(not LIMITED, reason="limits of another process")
def test_a_full_disk_is_told_and_harms_no_stream(server: ForgeServer, folder: Path) -> None:
    """The kernel refuses to let any file of the gateway grow beyond 2 MiB."""
    kept = put(server, b"kept").json()
    stream = Streaming(server, "a story", max_tokens=400, ignore_eos=True).wait_for(5)
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))
    try:
        refused = put(server, bytes(5 * MIB))
        assert refused.status_code == 507
        assert refused.json()["error"]["code"] == "storage_full"
        assert refused.headers["x-should-retry"] == "false"
        assert files_in(folder, "unfinished") == []
        with server.client() as client:
            assert client.get(f"/v1/files/{kept['id']}/content").content == b"kept"
        put(server, b"small").raise_for_status()
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert whole(stream)
    put(server, bytes(5 * MIB)).raise_for_status()


def test_many_uploads_at_once(server: ForgeServer) -> None:
    datas = [os.urandom(MIB + at) for at in range(8)]
    made: dict[int, str] = {}

    def send(at: int) -> None:
        made[at] = put(server, datas[at]).json()["id"]

    threads = [threading.Thread(target=send, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with server.client() as client:
        for at, data in enumerate(datas):
            assert client.get(f"/v1/files/{made[at]}/content").content == data


def test_a_second_server_goes_on_without(
    server: ForgeServer, folder: Path, start_server: Start
) -> None:
    second = start_server("--workers", "1", "--data-dir", str(folder))
    assert f"another server uses {folder}: this one serves without" in second.stderr
    with second.client() as client:
        answer = client.get("/v1/files")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "store_off")
        body = {"model": ALIAS, "prompt": "hello", "max_tokens": 1}
        assert client.post("/v1/completions", json=body).status_code == 200
    second.stop()
    put(server, b"still here").raise_for_status()


def test_what_can_not_be_used_ends_the_start(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    server = start_server("--data-dir", str(tmp_path / "file"), ready=False)
    assert server.wait() == 2
    (line,) = server.stderr.splitlines()
    assert line == f"forge serve: error: --data-dir: can't use {tmp_path}/file: File exists"


def test_files_are_there_after_a_restart(
    server: ForgeServer, folder: Path, start_server: Start
) -> None:
    """The last of the module: it ends the server."""
    data = os.urandom(MIB)
    made = put(server, data).json()
    server.stop()
    again = start_server("--workers", "1", "--data-dir", str(folder))
    with again.client() as client:
        assert client.get(f"/v1/files/{made['id']}").json() == made
        assert client.get(f"/v1/files/{made['id']}/content").content == data
    again.stop()
