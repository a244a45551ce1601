"""Real servers on one PostgreSQL: a file that one takes, the other gives."""

import os

import pytest

from tests.conftest import Start
from tests.support.postgres import PostgresServer, needs_postgres

pytestmark = needs_postgres

MIB = 1024 * 1024


def test_two_servers_have_the_same_files(start_server: Start, postgres: PostgresServer) -> None:
    env = {"FORGE_DATABASE": postgres.database()}
    first, second = [start_server("--workers", "1", "--slots", "1", env=env) for _ in range(2)]
    data = os.urandom(3 * MIB + 7)
    with first.client() as one, second.client() as two:
        fields = {"purpose": "batch"}
        made = one.post("/v1/files", data=fields, files={"file": ("a.jsonl", data)}).json()
        assert two.get("/v1/files").json()["data"] == [made]
        first.process.kill()
        first.wait()
        assert two.get(f"/v1/files/{made['id']}/content").content == data
        assert two.delete(f"/v1/files/{made['id']}").json()["deleted"] is True
        assert two.get("/v1/files").json()["data"] == []
    second.stop()


def test_a_database_that_is_not_there_ends_the_start(start_server: Start) -> None:
    """It may come back: the exit code lets a service manager try again. No password is shown."""
    env = {"FORGE_DATABASE": "postgresql://forge:hunter2@127.0.0.1:1/forge"}
    server = start_server(env=env, ready=False)
    assert server.wait() == 1
    (line,) = server.stderr.splitlines()
    assert line.startswith("forge serve: error: --database: the database does not answer: ")
    assert "hunter2" not in line


@pytest.mark.parametrize("url", ["mysql://a", "postgresql://a b", "/tmp/x"])
def test_what_is_no_url_is_refused(start_server: Start, url: str) -> None:
    server = start_server(env={"FORGE_DATABASE": url}, ready=False)
    assert server.wait() == 2
    assert "FORGE_DATABASE: must be a URL like postgresql://" in server.stderr
