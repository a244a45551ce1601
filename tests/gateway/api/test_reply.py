"""Work for a client who may go away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from gateway.api.reply import unless_hung_up


class Client:
    """Sends the rest of a body, and stays until it is told to go."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._rest = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive(self) -> Message:
        if self._rest:
            return self._rest.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}


def run(script: Callable[[Client], Awaitable[Any]]) -> Any:
    """Return what the script returns; no task may outlive it."""

    async def main() -> Any:
        found = await script(Client())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "somebody still watches"
        return found

    return asyncio.run(main())


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("work")


def test_work_that_ends_gives_its_result() -> None:
    async def script(client: Client) -> str:
        async def work() -> str:
            await asyncio.sleep(0)
            return "done"

        return await unless_hung_up(client.receive, work())

    assert run(script) == "done"


def test_an_error_of_the_work_is_raised() -> None:
    async def script(client: Client) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await unless_hung_up(client.receive, work())

    run(script)


def test_a_hang_up_ends_the_work() -> None:
    ended: list[str] = []

    async def script(client: Client) -> None:
        asyncio.get_running_loop().call_soon(client.gone.set)
        with pytest.raises(ClientDisconnect):
            await unless_hung_up(client.receive, forever(ended))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "the cancellation was taken back"
        await asyncio.sleep(0)  # where a cancellation that was left would be raised

    run(script)
    assert ended == ["work"]


def test_a_hang_up_is_no_timeout_of_the_work() -> None:
    """Both come in the same turn of the loop."""

    async def script(client: Client) -> None:
        async def work() -> None:
            async with asyncio.timeout(None) as late:
                client.gone.set()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                late.reschedule(0)
                await asyncio.Event().wait()

        with pytest.raises(ClientDisconnect):
            await unless_hung_up(client.receive, work())

    run(script)


def test_who_ends_the_request_is_not_taken_for_its_client() -> None:
    ended: list[str] = []

    async def script(client: Client) -> None:
        task = asyncio.create_task(unless_hung_up(client.receive, forever(ended)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(script)
    assert ended == ["work"]
