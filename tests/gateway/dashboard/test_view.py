"""A look at a dispatcher: who waits and in which order, and what the slots hold."""

from dataclasses import replace
from typing import Any

from gateway.core.clock import NANO
from gateway.dashboard.history import Gaps
from gateway.dashboard.view import LISTED, RECENT, View
from gateway.pool import Download, WorkerStatus
from tests.support.desk import Desk
from tests.support.memory_pool import job
from workers.protocol import Chat, Load


def rows(view: View, table: str, field: str) -> list[Any]:
    return [row[field] for row in view.look().tables[table]]


def test_who_waits_is_shown_in_the_order_of_service() -> None:
    desk = Desk(1)
    view = View(desk.registry, None)

    async def script() -> None:
        desk.submit()
        await desk.settle()
        for priority in (0.0, 2.0, 1.0, 7.0):
            desk.submit(priority)
        desk.clock.now = 4 * NANO
        assert rows(view, "jobs", "class") == ["other", "urgent", "normal", "batch"]
        first = view.look().tables["jobs"][0]
        assert (first["id"], first["priority"], first["placed"]) == (5, 7.0, 0.0)
        facts = view.look().facts
        assert (facts["waiting"], facts["running"], facts["slots"]) == (4, 1, 1)
        assert [facts[f"waiting_{k}"] for k in ("batch", "normal", "urgent", "other")] == [1] * 4

    desk.run(script)


def test_a_cap_on_those_who_are_listed() -> None:
    desk = Desk(1)
    view = View(desk.registry, None)

    async def script() -> None:
        for _ in range(LISTED + 11):
            desk.submit()
        await desk.settle()
        assert rows(view, "jobs", "id") == list(range(2, LISTED + 2))
        assert view.look().facts["waiting"] == LISTED + 10

    desk.run(script)


def test_slots_show_the_class_of_what_they_hold() -> None:
    desk = Desk(2)
    view = View(desk.registry, None)
    status = WorkerStatus(0, 11, "ready", 2, 2, 3, Load(step_ms=1.234, cells_used=9, host_bytes=70))

    async def script() -> None:
        desk.submit(2.0)
        await desk.settle()
        held = WorkerStatus(0, 11, "ready", 2, 2, 3, status.load, held=(1, 77))
        desk.pool.workers = lambda: [held]  # type: ignore[method-assign]
        (worker,) = view.look().tables["workers"]
        assert worker["held"] == [[1, "urgent"], [77, ""]], "the other one winds up"
        assert (worker["pid"], worker["restarts"], worker["step_ms"]) == (11, 3, 1.23)
        assert (worker["cells_used"], worker["host_bytes"]) == (9, 70)
        assert worker["download"] is None
        coming = replace(held, state="starting", download=Download("m.gguf", 5, None))
        desk.pool.workers = lambda: [coming]  # type: ignore[method-assign]
        assert view.look().tables["workers"][0]["download"] == ["m.gguf", 5, None]

    desk.run(script)


def test_those_who_ended_are_remembered() -> None:
    desk = Desk(1)
    view = View(desk.registry, lambda: Gaps((1.0,), (0, 0)))

    async def script() -> None:
        for number in range(1, RECENT + 3):
            ticket = desk.submit()
            await desk.settle()
            desk.pool.begin(number)
            desk.clock.now += NANO // 10
            desk.pool.finish(number)
            view.on_end(ticket_of(desk, number))
            await ticket.take()
        assert rows(view, "requests", "id") == list(range(3, RECENT + 3))
        newest = view.look().tables["requests"][-1]
        assert (newest["outcome"], newest["wait"], newest["ttft"]) == ("finished", 0.0, 0.1)
        desk.clock.now += NANO
        assert view.look().tables["points"][-1]["ttft_p99"] == 100.0

    desk.run(script)


def ticket_of(desk: Desk, number: int) -> Any:
    return next(ticket for ticket in desk.ends.tickets if ticket.id == number)


def test_nobody_is_shown_what_others_wrote() -> None:
    desk = Desk(1)
    view = View(desk.registry, None)

    async def script() -> None:
        prompt = Chat([{"role": "user", "content": "a secret"}])
        for _ in range(2):
            desk.dispatcher.submit(replace(job(stop=("a secret",)), prompts=(prompt,)))
        await desk.settle()
        assert "secret" not in repr(view.look())

    desk.run(script)
