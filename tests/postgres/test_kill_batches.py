"""Two gateways on one PostgreSQL, real ones: workers and gateways are killed, one for good."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.batch_requests import check_batch, client_of, ended, sampled_chats, send, texts
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


@pytest.mark.timeout(600)
def test_one_gateway_dies_and_the_other_goes_on(
    postgres: PostgresServer, start_server: Start, exact: tuple[Path, tuple[str, ...]]
) -> None:
    model, options = exact
    chance = random.Random(25)
    options = ("--workers", "1", "--slots", "4", *options, "--database", postgres.database())
    first, second = (start_server(*options, model=model) for _ in range(2))
    with client_of(first) as client:
        expected = texts(client, ended(client, send(client, sampled_chats(COUNT)), 300))
        batch = send(client, sampled_chats(COUNT))
        for _ in range(3):
            time.sleep(1)
            kill_a_worker(chance.choice([first, second]), chance)
    kill(first)
    first = start_server(*options, model=model)
    time.sleep(2)
    kill(second)
    with client_of(first) as client:
        check_batch(client, ended(client, batch, 300), expected)
    first.stop()
