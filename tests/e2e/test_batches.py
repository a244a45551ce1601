"""A batch outlives its server: kill -9 in the middle of it, and an orderly end."""

import signal
from pathlib import Path
from typing import Any

from tests.conftest import Start
from tests.support.batch_requests import (
    check_batch,
    client_of,
    ended,
    sampled_chats,
    send,
    texts,
)
from tests.support.server import ForgeServer, eventually

COUNT = 120


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
