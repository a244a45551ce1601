"""A gateway that is killed while files come: each is whole or was never there."""

import contextlib
import hashlib
import random
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import Start
from tests.support.server import ForgeServer, eventually

pytestmark = pytest.mark.usefixtures("unmeasured")

MIB = 1024 * 1024


class Client(threading.Thread):
    """Uploads, deletes and notes what it was told, until the server is gone."""

    def __init__(self, server: ForgeServer, seed: int) -> None:
        super().__init__()
        self._server, self._random = server, random.Random(seed)
        self.kept: dict[str, str] = {}
        """Digests of files whose upload was answered, by id."""
        self.deleted: set[str] = set()
        """Files whose deletion was asked for."""

    def run(self) -> None:
        with contextlib.suppress(httpx.HTTPError), self._server.client() as client:
            while True:
                self._once(client)

    def _once(self, client: httpx.Client) -> None:
        data = self._random.randbytes(self._random.choice([10, 100_000, 3 * MIB]))
        answer = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", data)})
        answer.raise_for_status()
        self.kept[answer.json()["id"]] = hashlib.sha256(data).hexdigest()
        if self._random.random() < 0.3:
            gone = self._random.choice(sorted(self.kept))
            self.deleted.add(gone)
            client.delete(f"/v1/files/{gone}")


def test_each_file_is_whole_or_was_never_there(start_server: Start, tmp_path: Path) -> None:
    folder, chance = tmp_path / "data", random.Random(7)
    kept: dict[str, str] = {}
    deleted = set[str]()
    for round_ in range(5):
        server = start_server("--workers", "1", "--slots", "1", "--data-dir", str(folder))
        check(server, folder, kept, deleted)
        clients = [Client(server, 10 * round_ + at) for at in range(3)]
        for client in clients:
            client.start()
        eventually(lambda clients=clients: all(each.kept for each in clients))  # type: ignore[misc]
        time.sleep(chance.random())
        server.process.kill()
        server.wait()
        for client in clients:
            client.join()
            kept |= client.kept
            deleted |= client.deleted
    server = start_server("--workers", "1", "--slots", "1", "--data-dir", str(folder))
    check(server, folder, kept, deleted)
    assert len(kept) > 20
    server.stop()


def check(server: ForgeServer, folder: Path, kept: dict[str, str], deleted: set[str]) -> None:
    """Compare what is there with what clients were told."""
    with server.client() as client:
        listed = {file["id"]: file for file in client.get("/v1/files").json()["data"]}
        for id_, file in listed.items():
            content = client.get(f"/v1/files/{id_}/content").content
            assert len(content) == file["bytes"]
            if id_ in kept:
                assert hashlib.sha256(content).hexdigest() == kept[id_]
    assert kept.keys() - deleted <= listed.keys()
    assert len(list((folder / "blobs").iterdir())) == len(listed)
    assert list((folder / "unfinished").iterdir()) == []
