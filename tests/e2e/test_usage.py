"""Usage, budgets and keys on real servers: streams at the end of a budget, kill -9, a full disk."""

import json
import resource
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.support.dialects import CHAT, DONE
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.terminal import forge

pytestmark = pytest.mark.timeout(300)  # seconds on an idle machine, minutes beside other work

ONE = ("--workers", "1", "--slots", "4")
LIMITED = sys.platform == "linux"
"""Only there may one process limit another."""
KEYS = """
[[key]]
name = "root"
key = "sk-root"
admin = true

[[key]]
name = "app"
key = "sk-app"
tokens-per-day = 150
"""


def key_file(folder: Path, text: str = KEYS) -> Path:
    file = folder / "keys.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def ask(server: ForgeServer, secret: str, tokens: int = 4, **params: Any) -> httpx.Response:
    body = CHAT.body(max_tokens=tokens, ignore_eos=True, **params)
    return httpx.post(server.url + CHAT.path, json=body, headers=bearer(secret), timeout=DEADLINE_S)


def usage(server: ForgeServer, secret: str, **query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}/usage", params=query, headers=bearer(secret))
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


def requests(server: ForgeServer, secret: str = "sk-root") -> int:
    return sum(int(row["requests"]) for row in usage(server, secret))


def stored(folder: Path) -> int:
    """Return the requests that the store has, whatever is in the server's memory."""
    with closing(sqlite3.connect(folder / "forge.db")) as database:
        (found,) = database.execute("SELECT sum(requests) FROM usage_hours").fetchone()
    return int(found or 0)


class Stream(threading.Thread):
    """A stream of a key; its reason at the end, and its tokens."""

    def __init__(self, server: ForgeServer, secret: str, tokens: int) -> None:
        super().__init__(daemon=True)
        self._body = CHAT.body(
            "a story", max_tokens=tokens, ignore_eos=True, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        self._url, self._headers = server.url + CHAT.path, bearer(secret)
        self.status, self.chunks = 0, list[Any]()
        self.start()

    def run(self) -> None:
        with httpx.stream(
            "POST", self._url, json=self._body, headers=self._headers, timeout=DEADLINE_S
        ) as response:
            self.status = response.status_code
            for text in response.iter_lines():
                chunk = CHAT.chunk(text)
                if chunk is not None:
                    self.chunks.append(chunk)

    def ended(self) -> list[Any]:
        self.join(DEADLINE_S)
        assert not self.is_alive()
        return self.chunks


def test_streams_that_run_when_the_budget_is_used_up_end_well(
    start_server: Start, tmp_path: Path
) -> None:
    options = (*ONE, "--api-key-file", str(key_file(tmp_path)))
    server = start_server(*options, key="sk-root")
    streams = [Stream(server, "sk-app", 400) for _ in range(3)]
    refused = eventually(
        lambda: (answer := ask(server, "sk-app", 1)).status_code == 429 and answer,
        "the budget is used up",
    )
    assert refused
    assert any(each.is_alive() for each in streams), "the budget was used up while they ran"
    failure = CHAT.refusal(refused)
    assert failure.code == "insufficient_quota"
    midnight = (int(time.time()) // 86400 + 1) * 86400
    wait = int(refused.headers["retry-after"])
    assert abs(time.time() + wait - midnight) < 120 or wait > 86000
    total = 0
    for each in streams:
        chunks = each.ended()
        assert each.status == 200
        assert chunks[-1] == DONE
        counted = chunks[-2]["usage"]
        assert counted["completion_tokens"] == 400
        total += counted["total_tokens"]
    assert ask(server, "sk-root").status_code == 200, "other keys go on"
    told = [row for row in usage(server, "sk-root") if row["key"] == "app"]
    assert sum(row["output_tokens"] for row in told) >= 1200
    assert sum(row["prompt_tokens"] + row["output_tokens"] for row in told) >= total
    server.stop()


def test_a_killed_server_loses_what_it_had_not_written(start_server: Start, tmp_path: Path) -> None:
    """No more, and nothing is there twice; an orderly end loses nothing."""
    folder = tmp_path / "data"
    options = (*ONE, "--data-dir", str(folder), "--api-key-file", str(key_file(tmp_path)))
    server = start_server(*options, key="sk-root")
    for _ in range(5):
        ask(server, "sk-app").raise_for_status()
    eventually(lambda: stored(folder) == 5, "they are written")
    for _ in range(3):
        ask(server, "sk-app").raise_for_status()
    assert requests(server) == 8
    server.process.kill()
    server.wait()
    written = stored(folder)
    assert 5 <= written <= 8
    again = start_server(*options, key="sk-root")
    assert requests(again) == written
    ask(again, "sk-root").raise_for_status()
    again.stop()
    assert stored(folder) == written + 1
    third = start_server(*options, key="sk-root")
    keys = httpx.get(f"{third.url}/keys", headers=bearer("sk-root")).json()["data"]
    (app,) = (each for each in keys if each["name"] == "app")
    assert app["used_today"] == sum(
        row["prompt_tokens"] + row["output_tokens"]
        for row in usage(third, "sk-root")
        if row["key"] == "app"
    )
    third.stop()


@pytest.mark.skipif(not LIMITED, reason="limits of another process")
def test_a_full_disk_loses_nothing(start_server: Start, tmp_path: Path) -> None:
    """The kernel refuses to let any file of the gateway grow: requests go on, and are counted."""
    folder = tmp_path / "data"
    options = (*ONE, "--data-dir", str(folder), "--api-key-file", str(key_file(tmp_path)))
    server = start_server(*options, key="sk-root")
    ask(server, "sk-root").raise_for_status()
    eventually(lambda: stored(folder) == 1, "it is written")
    pid, size = server.process.pid, (folder / "forge.db").stat().st_size
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (min(size, 4096), resource.RLIM_INFINITY))
    try:
        for _ in range(4):
            ask(server, "sk-root").raise_for_status()
        eventually(lambda: "usage is counted in memory" in server.stderr, "the disk is full")
        assert stored(folder) == 1
        ask(server, "sk-root").raise_for_status()
        added = httpx.post(f"{server.url}/keys", json={"name": "a"}, headers=bearer("sk-root"))
        assert (added.status_code, added.json()["error"]["code"]) == (507, "storage_full")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    eventually(lambda: stored(folder) == 6, "it is written again")
    assert "usage is written again" in server.stderr
    assert requests(server) == 6
    server.stop()


def keys(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run ``forge keys``, which must succeed; its output."""
    done = forge("keys", *arguments, env=env)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def refusal(*arguments: str, env: dict[str, str] | None = None, code: int = 2) -> str:
    done = forge("keys", *arguments, env=env)
    assert done.returncode == code, done.stderr.decode()
    assert done.stdout == b""
    (text,) = done.stderr.decode().splitlines()
    return text


def test_keys_from_the_first_to_the_last(start_server: Start, tmp_path: Path) -> None:
    """The operator's whole way by the command line: the first key, others, and their ends."""
    folder = tmp_path / "data"
    folder.mkdir()
    place = ("--data-dir", str(folder))
    assert "say 'close'" in refusal("add", "root", "--admin", *place)
    root = keys("add", "root", "--admin", "--close", *place)
    assert root.startswith("forge-sk-")
    assert [each["name"] for each in json.loads(keys("list", "--json", *place))] == ["root"]
    server = start_server(*ONE, *place, key=root)
    assert "a server uses" in refusal("list", *place)
    assert ask(server, "sk-none").status_code == 401
    at, admin = ("--url", server.url), {"FORGE_API_KEY": root}
    assert "this server needs an API key" in refusal("list", *at, code=1)
    app = keys("add", "app", "--tokens-per-day", "1000000", *at, env=admin)
    limits = ("--tokens-per-day", "2000000", "--requests-per-minute", "60")
    keys("limit", "app", *limits, *at, env=admin)
    assert ask(server, app).headers["x-ratelimit-limit-requests"] == "60"
    shown = keys("list", *at, env=admin)
    assert "of 2,000,000" in shown
    assert "requests-per-minute 60" in shown
    assert app not in shown
    assert "not manage keys" in refusal("list", *at, env={"FORGE_API_KEY": app}, code=1)
    running, newer = Stream(server, app, 300), keys("rotate", "app", *at, env=admin)
    assert ask(server, app).status_code == 401
    assert running.ended()[-1] == DONE
    assert running.status == 200
    running = Stream(server, newer, 1000)
    eventually(lambda: len(running.chunks) > 2, "it runs")
    form, file = {"purpose": "batch"}, {"file": ("in.jsonl", b"{}")}
    kept = httpx.post(f"{server.url}/v1/files", data=form, files=file, headers=bearer(newer))
    assert kept.status_code == 200
    keys("revoke", "app", *at, env=admin)
    assert ask(server, newer).status_code == 401
    assert running.is_alive() or running.chunks[-1] == DONE
    assert running.ended()[-1] == DONE, "what ran when the key was revoked ends well"
    assert "forge keys add --adopt" in refusal("add", "app", *at, env=admin, code=1)
    again = keys("add", "app", "--adopt", *at, env=admin)
    files = httpx.get(f"{server.url}/v1/files", headers=bearer(again)).json()["data"]
    assert [each["filename"] for each in files] == ["in.jsonl"]
    table = forge("usage", *at, env=admin)
    assert table.returncode == 0
    rows = [line.split() for line in table.stdout.decode().splitlines()]
    (row,) = (row for row in rows if "app" in row)
    assert row[1:4] == ["app", "forge-tiny", "3"]
    hours = forge("usage", "--by", "hour", "--since", "2h", "--json", *at, env=admin)
    assert sum(each["requests"] for each in json.loads(hours.stdout)["data"]) == 3
    secrets = (root, app, newer, again)
    server.stop()
    for secret in secrets:
        assert secret not in server.stderr + server.stdout
        assert all(secret.encode() not in each.read_bytes() for each in folder.glob("forge.db*"))


def test_revoked_now_ends_what_runs(start_server: Start, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    root = keys("add", "root", "--admin", "--close", "--data-dir", str(folder))
    server = start_server(*ONE, "--data-dir", str(folder), key=root)
    at, admin = ("--url", server.url), {"FORGE_API_KEY": root}
    app = keys("add", "app", *at, env=admin)
    streams = [Stream(server, app, 1500) for _ in range(2)]
    eventually(lambda: all(len(each.chunks) > 2 for each in streams), "they run")
    done = forge("keys", "revoke", "app", "--now", *at, env=admin)
    assert "2 requests ended" in done.stderr.decode()
    for each in streams:
        error = CHAT.error(each.ended()[-1]) or CHAT.error(each.chunks[-2])
        assert error is not None
        assert error.code == "invalid_api_key"
    eventually(lambda: server.busy() == 0, "their slots are free")
    told = [row for row in usage(server, root) if row["key"] == "app"]
    assert [row["requests"] for row in told] == [2]
    assert told[0]["output_tokens"] > 2, "what they computed counts"
    server.stop()


def test_a_server_without_its_folder_knows_the_keys_in_it(
    start_server: Start, tmp_path: Path
) -> None:
    """Else a second server, started while the first one ends, would be open to all."""
    folder = tmp_path / "data"
    folder.mkdir()
    place = ("--data-dir", str(folder))
    root = keys("add", "root", "--admin", "--close", *place)
    first = start_server(*ONE, *place, key=root)
    second = start_server(*ONE, *place, key=root)
    assert "another server uses" in second.stderr
    assert ask(second, "sk-none").status_code == 401
    assert ask(second, root).status_code == 200
    admin = {"FORGE_API_KEY": root}
    assert "files and batches are off" in refusal(
        "add", "a", "--url", second.url, env=admin, code=1
    )
    app = keys("add", "app", "--url", first.url, env=admin)
    eventually(lambda: ask(second, app).status_code == 200, "the second has looked")
    keys("revoke", "app", "--url", first.url, env=admin)
    eventually(lambda: ask(second, app).status_code == 401, "the second has looked again")
    first.stop()
    second.stop()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["add"], "which key?"),
        (["list", "app"], "takes no NAME"),
        (["limit", "app"], "which right?"),
        (["revoke", "app", "--weight", "2"], "--weight: rights are for add and limit"),
        (["add", "app", "--now"], "--now: for revoke alone"),
        (["list", "--data-dir", "/nowhere"], "--data-dir: /nowhere is not a folder"),
        (["list", "--data-dir", "/tmp", "--url", "http://a"], "--url: not together"),
    ],
)
def test_wrong_arguments(arguments: list[str], reason: str) -> None:
    assert reason in refusal(*arguments)
