"""Leaks: what is left in the books when nothing goes on, and who hears of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.dispatch.invariants import InvariantChecker
from tests.support.desk import Desk
from tests.support.memory_pool import only


def on_desk(script: Callable[[Desk, InvariantChecker], Coroutine[Any, Any, None]]) -> Desk:
    desk = Desk(1)
    desk.run(lambda: script(desk, InvariantChecker(desk.dispatcher)))
    return desk


async def serve_one(desk: Desk) -> None:
    ticket = desk.submit()
    await desk.settle()
    desk.pool.finish(ticket.id)


def test_after_work_nothing_is_left() -> None:
    async def script(desk: Desk, auditor: InvariantChecker) -> None:
        await serve_one(desk)
        assert desk.dispatcher.stats.leaks() == []
        auditor.look()
        auditor.look()

    assert on_desk(script).ends.violations == []


def test_work_is_no_leftover() -> None:
    async def script(desk: Desk, auditor: InvariantChecker) -> None:
        desk.submit()
        await desk.settle()
        desk.submit()
        auditor.look()
        auditor.look()

    assert on_desk(script).ends.violations == []


def test_a_worker_that_winds_up_is_no_violation() -> None:
    async def script(desk: Desk, auditor: InvariantChecker) -> None:
        ticket = desk.submit()
        await desk.settle()
        desk.dispatcher.cancel(ticket)
        auditor.look()
        desk.pool.finish(ticket.id, "cancelled")
        auditor.look()

    assert on_desk(script).ends.violations == []


def test_a_lost_credit_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def script(desk: Desk, auditor: InvariantChecker) -> None:
        ticket = desk.submit()
        await desk.settle()
        desk.dispatcher.cancel(ticket)  # and its worker never answers
        for _ in range(5):
            auditor.look()

    assert on_desk(script).ends.violations == ["worker 0 holds [1]"]
    assert "INVARIANT VIOLATED" in caplog.text


def test_a_request_that_nobody_works_for(caplog: pytest.LogCaptureFixture) -> None:
    async def script(desk: Desk, auditor: InvariantChecker) -> None:
        ticket = desk.submit()
        await desk.settle()
        del desk.dispatcher._running[only(ticket).id]
        desk.pool.finish(ticket.id)
        await auditor.last_look()

    found = on_desk(script).ends.violations
    assert "1 open requests without a sequence" in found
    assert any("turns" in violation for violation in found)


def test_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dispatch.invariants.PERIOD_S", 0)

    async def script(desk: Desk, auditor: InvariantChecker) -> None:
        desk.pool.reserved = 0
        task = asyncio.create_task(auditor.run())
        for _ in range(100):
            await asyncio.sleep(0)
        task.cancel()

    assert on_desk(script).ends.violations == ["worker 0 is reserved"]
