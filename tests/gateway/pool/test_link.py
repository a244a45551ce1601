"""One worker's link: a real asyncio transport on a socketpair, the test plays the worker."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from gateway.pool.link import WorkerLink
from gateway.pool.placement import Offer
from gateway.pool.prefixes import chain
from gateway.pool.watchdog import ANSWER_S, Watchdog
from workers.protocol import (
    BAD_PROMPT,
    Answered,
    Ask,
    Cancel,
    Delta,
    Detokenize,
    Event,
    Failed,
    Finished,
    FrameDecoder,
    Generate,
    GenerationParams,
    Heartbeat,
    Load,
    ModelInfo,
    Parked,
    QuestionFailed,
    Ready,
    Report,
    Sampling,
    Started,
    StartupFailed,
    Step,
    Text,
    ToWorker,
    encode,
)

INFO = ModelInfo("m", "tiny", 1, 1, 10, 64, 64, 64, 4, 8)
READY = Ready(pid=7, slots=2, model=INFO)


def generate(id_: int, attempt: int = 1) -> Generate:
    return Generate(id_, attempt, Text("x"), GenerationParams(Sampling(1)), 0.0)


class Line:
    """Both ends of a link, and what was heard at ours."""

    def __init__(self) -> None:
        self.heard: list[Report] = []
        self.closed, self._news = asyncio.Event(), asyncio.Event()
        self.in_flight_at_close: list[int] = []
        self.link = WorkerLink(self._on_message, self._on_closed, Watchdog(1, 2, 4))
        ours, self.worker = socket.socketpair()
        ours.setblocking(False)
        self.worker.setblocking(False)
        self._ours = ours
        self._decoder: FrameDecoder[Generate | Cancel | Ask] = FrameDecoder(ToWorker)

    def _on_message(self, link: WorkerLink, message: Report) -> None:
        assert link is self.link
        self.heard.append(message)
        self._news.set()

    def _on_closed(self, link: WorkerLink) -> None:
        self.in_flight_at_close = list(link.in_flight)
        self.closed.set()
        self._news.set()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.link, sock=self._ours)

    async def says(self, *frames: bytes) -> None:
        """The worker writes; returns when it was read (or the link was closed)."""
        self._news.clear()
        await asyncio.get_running_loop().sock_sendall(self.worker, b"".join(frames))
        await self._news.wait()

    async def hears(self) -> list[Generate | Cancel | Ask]:
        data = await asyncio.get_running_loop().sock_recv(self.worker, 1 << 16)
        return list(self._decoder.feed(data))


def on_line(script: Callable[[Line], Awaitable[None]]) -> None:
    """Run ``script`` on a fresh line; every end of it is closed after."""

    async def main() -> None:
        line = Line()
        await line.connect()
        try:
            async with asyncio.timeout(10):
                await script(line)
        finally:
            line.worker.close()
            line.link.close()
            await line.closed.wait()

    asyncio.run(main())


def test_no_credit_before_ready() -> None:
    async def script(line: Line) -> None:
        assert line.link.credits == 0
        await line.says(encode(READY))
        assert line.link.ready == READY
        assert line.link.credits == 2
        assert line.heard == [READY]

    on_line(script)


def test_it_offers_what_it_was_sent_before() -> None:
    """Until it dies; and it says how much of that is yet to be computed."""
    prompt, other = chain(Text("x" * 100)), chain(Text("y" * 40))

    async def script(line: Line) -> None:
        assert line.link.offer(3, prompt) == Offer(3, 0)
        await line.says(encode(READY))
        line.link.generate(generate(1), prompt)
        line.link.generate(generate(2), other)
        assert line.link.offer(3, prompt) == Offer(3, 0, 100, 50, backlog=40)
        await line.says(encode(Step([Delta(1, 1, [], "an echo"), Started(2, 1, 9, 0)], Load())))
        assert line.link.offer(3, other).backlog == 100, "no token yet"
        await line.says(encode(Step([Delta(1, 1, [5], "")], Load())))
        assert line.link.offer(3, other).backlog == 0
        await line.says(encode(Step([Parked(1, 1), Finished(2, 1, "stop", [5], "")], Load())))
        assert line.link.offer(3, prompt) == Offer(3, 2, 100, 100)
        line.link.generate(generate(1, attempt=2), prompt)
        assert line.link.offer(3, other) == Offer(3, 1, 40, 40), "it has its cells yet"

    on_line(script)


def test_it_offers_no_more_than_it_has_room_for() -> None:
    first, second = (chain(Text(letter * 200)) for letter in "xy")

    async def script(line: Line) -> None:
        info = msgspec.structs.replace(INFO, n_ctx=75)
        await line.says(encode(Ready(pid=7, slots=3, model=info)))
        line.link.generate(generate(1), first)
        line.link.generate(generate(2), second)
        assert line.link.offer(0, second) == Offer(0, 1, 200, 100, backlog=200)
        assert line.link.offer(0, first) == Offer(0, 1, backlog=400)
        await line.says(encode(Step([], Load(host_room=25))))
        line.link.generate(generate(3), first)
        assert line.link.offer(0, second).spared == 200, "and it has host memory for 100 bytes more"

    on_line(script)


def test_generation_holds_a_credit_until_its_end() -> None:
    async def script(line: Line) -> None:
        await line.says(encode(READY))
        line.link.generate(generate(1))
        line.link.generate(generate(2, attempt=3))
        assert line.link.credits == 0
        assert line.link.in_flight == {1: 1, 2: 3}
        assert await line.hears() == [generate(1), generate(2, attempt=3)]
        await line.says(encode(Step([Delta(1, 1, [5], "a")], Load(steps=1))))
        assert line.link.credits == 0, "progress frees nothing"
        line.link.cancel(1)
        assert await line.hears() == [Cancel(1)]
        assert line.link.credits == 0, "only the worker's word frees a slot"
        ends: list[Event] = [Finished(1, 1, "cancelled", [], ""), Failed(2, 3, "x", "")]
        await line.says(encode(Step(ends, Load(steps=2))))
        assert line.link.credits == 2
        assert line.link.in_flight == {}

    on_line(script)


def test_account_is_made_before_the_message_is_handed_over() -> None:
    """The dispatcher may use the credit as soon as it hears of the end."""

    async def script(line: Line) -> None:
        seen: list[int] = []
        line.link._on_message = lambda link, _: seen.append(link.credits)
        line.link.data_received(encode(READY))
        line.link.generate(generate(1))
        line.link.data_received(encode(Step([Finished(1, 1, "stop", [], "")], None)))
        assert seen == [2, 2]

    on_line(script)


def test_load_is_the_last_one_told() -> None:
    async def script(line: Line) -> None:
        await line.says(encode(Step([], Load(steps=7))))
        assert line.link.load.steps == 7
        # The frame that refuses a prompt does not come from the engine and knows no load.
        await line.says(encode(Step([], None)))
        assert line.link.load.steps == 7

    on_line(script)


def test_frames_may_be_cut_anywhere() -> None:
    async def script(line: Line) -> None:
        stream = (
            encode(READY) + encode(Step([Delta(1, 1, [5], "ä")], None)) + encode(StartupFailed("x"))
        )
        for at in range(len(stream)):
            line.link.data_received(stream[at : at + 1])
        assert [type(message) for message in line.heard] == [Ready, Step, StartupFailed]

    on_line(script)


@pytest.mark.parametrize(
    "rubbish",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02hi", encode(Cancel(1))],
    ids=["oversize", "no message", "a message of the other direction"],
)
def test_rubbish_closes_the_link(rubbish: bytes) -> None:
    """A worker that sends rubbish can't be trusted with its other streams either."""

    async def script(line: Line) -> None:
        await line.says(encode(READY))
        line.link.generate(generate(4))
        await line.says(rubbish)
        await line.closed.wait()
        assert line.heard == [READY]
        assert line.in_flight_at_close == [4], "the pool must learn what was lost"

    on_line(script)


def test_what_the_worker_wrote_before_it_died_is_heard_first() -> None:
    """Else its tokens would be sampled and sent once more."""

    async def script(line: Line) -> None:
        line.link.data_received(encode(READY))
        line.link.generate(generate(1))
        frames = [encode(Step([Delta(1, 1, [n], "x")], None)) for n in range(500)]
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(line.worker, b"".join(frames))
        line.worker.close()
        await line.closed.wait()
        steps = [message for message in line.heard if isinstance(message, Step)]
        tokens = [event.ids for step in steps for event in step.events if isinstance(event, Delta)]
        assert tokens == [[n] for n in range(500)]
        assert line.in_flight_at_close == [1]

    on_line(script)


def test_close_before_connection() -> None:
    async def main() -> None:
        WorkerLink(lambda *_: None, lambda _: None, Watchdog(1, 1, 1)).close()

    asyncio.run(main())


def test_an_echo_of_an_earlier_attempt_frees_nothing() -> None:
    """A parked job went elsewhere and came back before its old Cancel was answered."""

    async def script(line: Line) -> None:
        await line.says(encode(READY))
        line.link.generate(generate(1, attempt=1))
        await line.says(encode(Step([Parked(1, 1)], None)))
        assert (line.link.in_flight, line.link.parked) == ({}, {1: 1})
        line.link.cancel(1)
        line.link.generate(generate(1, attempt=3))
        await line.says(encode(Step([Finished(1, 1, "cancelled", [], "")], None)))
        assert line.link.in_flight == {1: 3}
        await line.says(encode(Step([Parked(1, 3), Finished(1, 3, "cancelled", [], "")], None)))
        assert (line.link.in_flight, line.link.parked) == ({}, {})

    on_line(script)


QUESTION = Detokenize([1, 2])


def test_a_question_and_its_answer() -> None:
    """No report, so neither credits nor steps have anything to do with it."""

    async def script(line: Line) -> None:
        await line.says(encode(READY))
        line.link.generate(generate(1))
        line.link.cancel(1)
        first, second = line.link.ask(QUESTION), line.link.ask(Detokenize([3]))
        assert (await line.hears())[2:] == [Ask(1, QUESTION), Ask(2, Detokenize([3]))]
        assert (line.link.questions, line.link.credits) == (2, 1)
        declined = QuestionFailed(2, BAD_PROMPT, "no", "tokens.0")
        line.link.data_received(encode(declined) + encode(Answered(1, b"{}")))
        assert await second == declined
        assert await first == Answered(1, b"{}")
        assert line.link.questions == 0
        assert line.heard == [READY]
        assert line.link.unanswered() == [], "the engine has not spoken since the cancellation"

    on_line(script)


def test_nobody_waits_for_the_answer_any_more() -> None:
    """The worker still has the question; only its answer makes room."""

    async def script(line: Line) -> None:
        await line.says(encode(READY))
        line.link.ask(QUESTION).cancel()
        assert line.link.questions == 1
        line.link.data_received(encode(Answered(1, b"{}")))
        assert line.link.questions == 0
        assert not line.closed.is_set()

    on_line(script)


def test_a_worker_that_dies_leaves_nobody_waiting() -> None:
    async def script(line: Line) -> None:
        await line.says(encode(READY))
        answered, lost, given_up = (line.link.ask(QUESTION) for _ in range(3))
        given_up.cancel()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(line.worker, encode(Answered(1, b"1")))
        line.worker.close()
        assert await answered == Answered(1, b"1"), "what it said before is heard"
        assert await lost is None
        assert line.link.questions == 0

    on_line(script)


def test_an_answer_to_no_question_is_rubbish() -> None:
    async def script(line: Line) -> None:
        await line.says(encode(READY))
        line.link.generate(generate(1))
        await line.says(encode(Answered(1, b"{}")))
        await line.closed.wait()
        assert line.in_flight_at_close == [1]

    on_line(script)


def test_the_watchdog_sees_questions() -> None:
    """However often it beats and steps."""

    async def script(line: Line) -> None:
        await line.says(encode(READY))

        def ticks() -> int:
            for count in range(1000):
                line.link.data_received(encode(Heartbeat()))
                if line.link.tick() is not None:
                    return count
            return -1

        assert ticks() == -1
        line.link.ask(QUESTION)
        assert ticks() == ANSWER_S
        line.link.data_received(encode(Answered(1, b"{}")))
        assert ticks() == -1

    on_line(script)
