"""Batches while gateways and workers are killed: each line has one answer, the undisturbed one."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.conftest import StartExact
from tests.support.batch_requests import (
    ENDED,
    check_batch,
    client_of,
    ended,
    sampled_chats,
    send,
    texts,
)
from tests.support.server import ForgeServer

pytestmark = pytest.mark.usefixtures("unmeasured")
SLOTS = 8


def kill(server: ForgeServer) -> None:
    """kill -9 of the gateway; its workers see the end of their sockets."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def state(server: ForgeServer, id_: str) -> dict[str, Any]:
    with server.client() as http:
        found: dict[str, Any] = http.get(f"/v1/batches/{id_}").json()
    return found


def disturb(server: ForgeServer, id_: str, chance: random.Random, seconds: float) -> bool:
    """Kill workers for a while; return whether the batch has ended meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if state(server, id_)["status"] in ENDED:
            return True
        if chance.random() < 0.2:
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(chance.choice(server.pids()), signal.SIGKILL)
        time.sleep(0.5)
    return False


@pytest.mark.timeout(900)
def test_two_thousand_lines_while_all_is_killed(start_exact: StartExact, tmp_path: Path) -> None:
    count, chance = 2000, random.Random(25)
    options = ("--data-dir", str(tmp_path / "data"))
    server = start_exact(2, SLOTS, *options)
    with client_of(server) as client:
        expected = texts(client, ended(client, send(client, sampled_chats(count)), 400))
        assert len(expected) == count
        batch = send(client, sampled_chats(count))
    kills = 0
    while not disturb(server, batch.id, chance, 4 + 3 * chance.random()):
        kill(server)
        kills += 1
        server = start_exact(2, SLOTS, *options)
    assert kills > 0
    with client_of(server) as client:
        done = client.batches.retrieve(batch.id)
        check_batch(client, done, expected)
    server.stop()
