"""Two gateways on one PostgreSQL, real ones: workers and gateways are killed, one for good."""

import contextlib
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.batch_requests import (
    ENDED,
    check_batch,
    client_of,
    ended,
    sampled_chats,
    send,
    texts,
)
from tests.support.postgres import PostgresServer, needs_postgres
from tests.support.server import ForgeServer

pytestmark = [needs_postgres, pytest.mark.usefixtures("unmeasured")]
COUNT = 2000


def kill_a_worker(server: ForgeServer, chance: random.Random) -> None:
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice(server.pids()), signal.SIGKILL)


def kill(server: ForgeServer) -> None:
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def answered(server: ForgeServer) -> int:
    """Return the requests that a gateway has answered with success."""
    with server.client(Accept="text/plain") as http:
        text = http.get("/metrics").text
    found = re.findall(r'^forge_requests_total\{.*outcome="finished".*\} (\S+)$', text, re.M)
    return int(sum(map(float, found)))


def over(server: ForgeServer, id_: str) -> bool:
    with client_of(server) as client:
        return client.batches.retrieve(id_).status in ENDED


@pytest.mark.timeout(900)
def test_gateways_and_workers_die_and_each_line_has_one_answer(
    postgres: PostgresServer, start_server: Start, exact: tuple[Path, tuple[str, ...]]
) -> None:
    model, options = exact
    chance = random.Random(25)
    options = ("--workers", "1", "--slots", "4", *options, "--database", postgres.database())

    def start() -> ForgeServer:
        return start_server(*options, model=model)

    servers = [start(), start()]
    with client_of(servers[0]) as client:
        expected = texts(client, ended(client, send(client, sampled_chats(COUNT)), 300))
        shares = [answered(server) for server in servers]
        assert min(shares) > 0, "both work"
        assert sum(shares) == len(expected) == COUNT, "and no line is computed twice"
        batch = send(client, sampled_chats(COUNT))
    deaths = 0
    for victim in (0, 1, 0):
        for _ in range(3):
            time.sleep(0.5)
            kill_a_worker(chance.choice(servers), chance)
        if over(servers[0], batch.id):
            break
        kill(servers[victim])
        deaths += 1
        servers[victim] = start()
    assert deaths > 1, "the batch was done before"
    kill(servers[1])  # for good
    with client_of(servers[0]) as client:
        check_batch(client, ended(client, batch, 300), expected)
    servers[0].stop()
