"""The keeper: what can't be written is dropped and counted, and costs no more than itself."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Scope

from gateway.capture.keeper import AT_ONCE, CaptureKeeper
from gateway.capture.making import CaptureMaker, EndedRecording
from gateway.capture.recording import FIXED, PIECE, HeldBytes
from gateway.capture.redaction import Redactor
from gateway.core.api_key import ANYONE
from gateway.core.errors import StorageFull
from gateway.stored.captures import CaptureBounds, CaptureFilter, StoredCapture, StoredCaptures
from gateway.stored.database import Database

pytestmark = pytest.mark.anyio

SCOPE: Scope = {"path": "/infer", "headers": []}


class Rows:
    """A table that fails as it is told, or waits."""

    def __init__(self) -> None:
        self.rows: list[StoredCapture] = []
        self.errors: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()

    async def insert(self, rows: Sequence[StoredCapture]) -> None:
        await self.open.wait()
        if self.errors:
            raise self.errors.pop()
        self.rows += rows


def keeper_of(rows: Any, room: int = 1 << 20, makes: Any = None) -> tuple[CaptureKeeper, HeldBytes]:
    budget = HeldBytes(room)
    maker = makes or CaptureMaker(Redactor([]), lambda data, *_: data, 1000)
    return CaptureKeeper(rows, maker, budget, 1000, lambda: 5.0), budget


def capture(keeper: CaptureKeeper, body: bytes = b"{}") -> bool:
    """Record a request that ends at once; False: there was no room."""
    recording = keeper.begin("Infer", SCOPE)
    if recording is None:
        return False
    recording.received({"type": "http.request", "body": body, "more_body": False})
    keeper.end(recording, {"key": ANYONE})
    return True


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not check():  # noqa: ASYNC110 (the writer tells nobody)
            await asyncio.sleep(0.001)


async def test_all_are_written_by_the_end() -> None:
    rows = Rows()
    keeper, budget = keeper_of(rows)
    keeper.start()
    assert all(capture(keeper) for _ in range(3 * AT_ONCE))
    await keeper.stop()
    assert len(rows.rows) == keeper.counts()["kept"] == 3 * AT_ONCE
    assert budget.held == 0
    assert not capture(keeper)


async def test_a_slow_store_fills_the_budget_and_no_more() -> None:
    rows = Rows()
    keeper, budget = keeper_of(rows, room=10 * (FIXED + PIECE + 2))
    keeper.start()
    rows.open.clear()
    taken = [capture(keeper) for _ in range(50)]
    assert taken == [True] * 10 + [False] * 40
    assert budget.held == budget.most
    rows.open.set()
    await until(lambda: budget.held == 0)
    assert capture(keeper)
    await keeper.stop()
    assert keeper.counts() == {"kept": 11, "dropped": 40}


@pytest.mark.parametrize("error", [StorageFull("the disk is full"), OSError("secret text")])
async def test_a_failed_write_drops_and_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows()
    keeper, budget = keeper_of(rows)
    keeper.start()
    for trouble in ([error], [error], []):
        rows.errors += trouble
        capture(keeper)
        await until(lambda: budget.held == 0)
    await keeper.stop()
    assert keeper.counts() == {"kept": 1, "dropped": 2}
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 1  # once for all that follow each other
    assert "secret" not in told[0]  # a driver's error may quote the row


async def test_a_capture_that_cant_be_made_takes_no_other_with_it() -> None:
    class Makes:
        def row(self, ended: EndedRecording) -> StoredCapture:
            if ended.recording.request.size == 3:
                raise ZeroDivisionError
            return StoredCapture(ended.recording.id, "", "", 200, "finished", 5, b"")

    rows = Rows()
    keeper, budget = keeper_of(rows, makes=Makes())
    rows.open.clear()
    keeper.start()
    for body in (b"{}", b"bad", b"{}"):
        capture(keeper, body)
    rows.open.set()
    await keeper.stop()
    assert keeper.counts() == {"kept": 2, "dropped": 1}
    assert budget.held == 0


async def test_the_end_does_not_wait_for_a_store_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.capture.keeper.LAST_S", 0.01)
    rows = Rows()
    keeper, _ = keeper_of(rows)
    rows.open.clear()
    keeper.start()
    assert all(capture(keeper) for _ in range(AT_ONCE + 5))
    await asyncio.sleep(0)
    await keeper.stop()
    assert rows.rows == []
    assert keeper.counts()["dropped"] >= 5


async def test_a_database_that_another_has_locked_drops_captures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.stored.database.PRAGMAS", ("journal_mode=WAL", "busy_timeout=1"))
    path = str(tmp_path / "forge.db")
    database = Database(path)
    await database.open()
    rows = StoredCaptures(database, lambda: 5.0, CaptureBounds(10, 1 << 20, 100))
    keeper, budget = keeper_of(rows)
    keeper.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert capture(keeper)
    await until(lambda: budget.held == 0)
    other.execute("COMMIT")
    other.close()
    assert capture(keeper)
    await keeper.stop()
    assert keeper.counts() == {"kept": 1, "dropped": 1}
    found, _ = await rows.page(CaptureFilter(), None, 10)
    assert len(found) == 1
    await database.close()
