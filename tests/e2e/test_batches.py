"""A batch outlives its server: kill -9 in its middle, an orderly end. A full disk ends it alone."""

import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support.batch_requests import (
    check_batch,
    client_of,
    ended,
    sampled_chats,
    send,
    texts,
)
from tests.support.killing import whole
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import Streaming

COUNT = 120
KIB = 1024
LIMITED = sys.platform == "linux"
"""Limits of another process can be set."""


def state(server: ForgeServer, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/v1/batches/{id_}")
    return found


def some_done(server: ForgeServer, id_: str) -> bool:
    counts = state(server, id_)["request_counts"]
    return 0 < int(counts["completed"]) < COUNT


def test_a_batch_outlives_its_server(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    model, options = exact
    options = ("--workers", "1", "--slots", "4", *options, "--data-dir", str(tmp_path / "data"))
    server = start_server(*options, model=model)
    with client_of(server) as client:
        expected = texts(client, ended(client, send(client, sampled_chats(COUNT))))
        batch = send(client, sampled_chats(COUNT))
    eventually(lambda: some_done(server, batch.id), "some lines are done")
    server.signal(signal.SIGKILL)
    server.process.wait()

    server = start_server(*options, model=model)
    before = state(server, batch.id)["request_counts"]["completed"]
    assert before > 0
    eventually(
        lambda: state(server, batch.id)["request_counts"]["completed"] > before, "it goes on"
    )
    server.stop()

    server = start_server(*options, model=model)
    with client_of(server) as client:
        check_batch(client, ended(client, batch), expected)
    server.stop()


@pytest.mark.skipif(not LIMITED, reason="limits of another process")
def test_a_full_disk_fails_a_batch_and_harms_no_stream(start_server: Start, tmp_path: Path) -> None:
    """The kernel refuses to let the database's log grow."""
    folder = tmp_path / "data"
    server = start_server("--workers", "1", "--slots", "4", "--data-dir", str(folder))
    log, pid = folder / "forge.db-wal", server.process.pid
    with client_of(server) as client:
        batch = send(client, sampled_chats(COUNT))
        eventually(lambda: some_done(server, batch.id), "some lines are done")
        stream = Streaming(server, "a story", max_tokens=400, ignore_eos=True).wait_for(5)
        most = log.stat().st_size + 64 * KIB
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        try:
            told = f"{batch.id} has failed: the disk of the database takes no more"
            eventually(lambda: told in server.stderr, "a result finds no room")
            late = Streaming(server, "another", max_tokens=20, ignore_eos=True)
            assert whole(late)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        found = ended(client, batch)
        assert found.status == "failed"
        assert found.errors is not None
        assert found.errors.data is not None
        assert [each.code for each in found.errors.data] == ["storage_full"]
        assert whole(stream)
        assert ended(client, send(client, sampled_chats(5))).status == "completed"
    server.stop()
