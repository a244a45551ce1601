"""Whom a question goes to, and what becomes of it: real links, the test plays the workers."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import cast

import pytest

from gateway.core.errors import ForgeError, InvalidPrompt, QueueFull, Unavailable, WorkerFailed
from gateway.pool.link import WorkerLink
from gateway.pool.local import LocalPool
from gateway.pool.process import WorkerProcess
from gateway.pool.questions import ATTEMPTS, OPEN, ask
from tests.gateway.pool.test_link import READY, Line
from workers.protocol import BAD_PROMPT, Answered, Detokenize, QuestionFailed, WorkerSpec, encode

QUESTION = Detokenize([1])


class Crew:
    """Workers that live until the test says otherwise."""

    def __init__(self, count: int) -> None:
        self.lines = [Line() for _ in range(count)]

    def ready(self) -> list[WorkerLink]:
        return [line.link for line in self.lines if not line.closed.is_set()]

    async def begin(self, count: int = 1) -> list["asyncio.Task[bytes]"]:
        """Ask so many questions, and see them on their way."""
        tasks = [asyncio.create_task(ask(self.ready, QUESTION)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks

    def open(self) -> list[int]:
        return [line.link.questions for line in self.lines]

    async def die(self, worker: int) -> None:
        """Returns when the pool knows, and who waited has asked somebody else."""
        line = self.lines[worker]
        line.worker.close()
        await line.closed.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def with_crew(count: int, script: Callable[[Crew], Awaitable[None]]) -> None:
    async def main() -> None:
        crew = Crew(count)
        for line in crew.lines:
            await line.connect()
            line.link.data_received(encode(READY))
        try:
            async with asyncio.timeout(10):
                await script(crew)
        finally:
            for line in crew.lines:
                line.worker.close()
                line.link.close()
                await line.closed.wait()

    asyncio.run(main())


async def failure(task: "asyncio.Task[bytes]") -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        await task
    return caught.value


def test_who_has_least_to_answer_is_asked() -> None:
    async def script(crew: Crew) -> None:
        tasks = await crew.begin(5)
        assert crew.open() == [2, 2, 1]
        crew.lines[1].link.data_received(encode(Answered(1, b"a")) + encode(Answered(2, b"b")))
        assert [await tasks[1], await tasks[4]] == [b"a", b"b"]
        await crew.begin()
        assert crew.open() == [2, 1, 1]

    with_crew(3, script)


def test_a_worker_may_decline() -> None:
    """And nobody else is asked."""

    async def script(crew: Crew) -> None:
        (task,) = await crew.begin()
        crew.lines[0].link.data_received(
            encode(QuestionFailed(1, BAD_PROMPT, "no such id", "tokens.0"))
        )
        error = await failure(task)
        assert isinstance(error, InvalidPrompt)
        assert (error.message, error.param) == ("no such id", "tokens.0")
        assert crew.open() == [0, 0]

    with_crew(2, script)


def test_when_a_worker_dies_another_is_asked() -> None:
    async def script(crew: Crew) -> None:
        tasks = await crew.begin(4)
        assert crew.open() == [2, 2]
        await crew.die(0)
        assert crew.open() == [0, 4]
        answers = [encode(Answered(id_, b"%d" % id_)) for id_ in (1, 2, 3, 4)]
        crew.lines[1].link.data_received(b"".join(answers))
        assert sorted([await task for task in tasks]) == [b"1", b"2", b"3", b"4"]

    with_crew(2, script)


def test_a_question_does_not_kill_them_all() -> None:
    async def script(crew: Crew) -> None:
        (task,) = await crew.begin()
        for worker in range(ATTEMPTS):
            assert not task.done()
            assert crew.lines[worker].link.questions == 1
            await crew.die(worker)
        assert isinstance(await failure(task), WorkerFailed)
        assert crew.open() == [0] * (ATTEMPTS + 1)

    with_crew(ATTEMPTS + 1, script)


def test_who_runs_alone_is_not_blamed_for_a_question() -> None:
    """Its death would be the end of the generation; unless nobody else is there to ask."""

    async def script(crew: Crew) -> None:
        spec = WorkerSpec("m", 1, 1, 64, 8, "f16", "f16", "auto", False, 0, "info", 1.0)
        pool = LocalPool(spec, 2, silence_s=1, step_s=1)
        for worker, line in zip(pool._workers, crew.lines, strict=True):
            worker.process = cast(WorkerProcess, SimpleNamespace(link=line.link, linked=True))
        links = crew.ready()
        assert pool._askable() == links
        assert pool.reserve()
        assert pool._askable() == links[1:]
        links[1].ready = None
        assert pool._askable() == links[:1]
        pool.release()
        assert pool._askable() == links[:1]

    with_crew(2, script)


def test_nobody_to_ask() -> None:
    async def script(crew: Crew) -> None:
        (task,) = await crew.begin()
        await crew.die(0)
        for error in (await failure(task), await failure((await crew.begin())[0])):
            assert isinstance(error, Unavailable)
            assert error.retry_after == 1

    with_crew(1, script)


def test_there_may_be_so_many() -> None:
    """Also if nobody waits for their answers; but one that was let in is not sent away."""

    async def script(crew: Crew) -> None:
        tasks = await crew.begin(2 * OPEN)
        assert crew.open() == [OPEN, OPEN]
        error = await failure((await crew.begin())[0])
        assert isinstance(error, QueueFull)
        assert error.retry_after == 1
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert isinstance(await failure((await crew.begin())[0]), QueueFull)
        crew.lines[0].link.data_received(encode(Answered(1, b"{}")))
        tasks += await crew.begin()
        assert crew.open() == [OPEN, OPEN]
        await crew.die(0)
        assert crew.open() == [0, 2 * OPEN]
        assert not any(task.done() for task in tasks[1:])
        for task in tasks:
            task.cancel()

    with_crew(2, script)
