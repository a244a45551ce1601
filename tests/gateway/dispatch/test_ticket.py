"""A ticket: its sequences, and the channel to the client."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest

from gateway.core.errors import ForgeError, WorkerFailed
from gateway.core.usage import Usage
from gateway.dispatch.sequence import Move, State
from gateway.dispatch.ticket import Ticket, new_name
from tests.support.memory_pool import job
from workers.protocol import Delta, Finished, Sampling, Started, Text


def ticket() -> Ticket:
    return Ticket(5, job(), arrived_ns=0)


def test_sequences_of_a_request() -> None:
    """Prompts times n, numbered on, each with a seed of its own."""
    prompts = (Text("a"), Text("b"))
    made = Ticket(5, replace(job(n=2, sampling=Sampling(seed=2**63 - 2)), prompts=prompts), 0)
    sent = [sequence.generate(0.0, 0) for sequence in made.sequences]
    assert [request.id for request in sent] == [5, 6, 7, 8]
    assert [request.prompt for request in sent] == [Text("a"), Text("a"), Text("b"), Text("b")]
    wanted = [2**63 - 2, 2**63 - 1, -(2**63), -(2**63) + 1]
    seeds = [request.params.sampling.seed for request in sent]
    assert seeds == wanted, "the next ones, around the end"
    assert made.index(Delta(8, 1, [], "")) == 3


def test_a_prompt_counts_once_however_many_choices_it_has() -> None:
    made = Ticket(1, replace(job(n=2), prompts=(Text("a"), Text("b"))), 0)
    # The first to start computed its prompt, and the other found that in the cache.
    for sequence, (prompt, cached) in zip(made.sequences, ((7, 6), (7, 0), (9, 2)), strict=False):
        sequence.started = Started(sequence.id, 1, prompt, cached)
        sequence.ids = [1, 2]
    assert made.usage == Usage(prompt=16, cached=2, completion=6)


def test_state_is_that_of_all_sequences() -> None:
    made = Ticket(1, job(n=2), 0)
    first, second = made.sequences
    seen = [made.state]
    for sequence, move in (
        (first, Move.DISPATCH),
        (first, Move.FINISH),
        (second, Move.CANCEL),
    ):
        sequence.move(move)
        seen.append(made.state)
    assert seen == [State.WAITING, State.RUNNING, State.WAITING, State.CANCELLED]


def test_request_ids_are_distinct_and_not_countable() -> None:
    names = {Ticket(1, job(), 0).request_id for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 24 for name in names)


# ------------------------------------------------------------------ the channel

STARTED, DELTA, FINISHED = (
    Started(5, 1, 3, 0),
    Delta(5, 1, [1], "a"),
    Finished(5, 1, "stop", [], ""),
)


def test_take_gives_everything_at_once_and_in_order() -> None:
    async def main() -> None:
        channel = ticket()
        for event in (STARTED, DELTA, FINISHED):
            channel.deliver(event)
        assert channel.pending
        assert await channel.take() == [STARTED, DELTA, FINISHED]
        assert not channel.pending

    asyncio.run(main())


def test_take_times_out_with_nothing() -> None:
    async def main() -> None:
        channel = ticket()
        assert await channel.take(timeout=0) == []
        channel.deliver(DELTA)
        assert await channel.take(timeout=0) == [DELTA]
        # What was taken is not given again, and the old wake-up does not count.
        assert await channel.take(timeout=0) == []

    asyncio.run(main())


def test_take_wakes_for_an_event() -> None:
    async def main() -> None:
        channel = ticket()
        reader = asyncio.create_task(channel.take())
        for _ in range(3):
            await asyncio.sleep(0)
            assert not reader.done()
        channel.deliver(STARTED)
        channel.deliver(DELTA)
        assert await reader == [STARTED, DELTA]

    asyncio.run(main())


def test_take_of_a_patient_reader_wakes_for_enough_events() -> None:
    async def main() -> None:
        channel = ticket()
        reader = asyncio.create_task(channel.take(enough=3))
        await asyncio.sleep(0)
        for _ in range(2):
            channel.deliver(DELTA)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not reader.done()
        channel.deliver(DELTA)
        assert await reader == [DELTA] * 3

    asyncio.run(main())


def test_take_of_a_patient_reader_wakes_for_an_end() -> None:
    async def main() -> None:
        for end in (FINISHED, None):
            channel = ticket()
            reader = asyncio.create_task(channel.take(enough=3))
            await asyncio.sleep(0)
            channel.deliver(DELTA)
            if end is not None:
                channel.deliver(end)
            else:
                channel.fail(WorkerFailed("broken"))
            assert await reader == [DELTA, *([end] if end else [])]

    asyncio.run(main())


def test_a_patient_reader_is_woken_when_something_waits_for_its_reading() -> None:
    async def main() -> None:
        channel, read = ticket(), list[Ticket]()
        reader = asyncio.create_task(channel.take(enough=3))
        await asyncio.sleep(0)
        channel.deliver(DELTA)
        channel.when_read(read.append)
        assert await reader == [DELTA]
        assert read == [channel]
        channel.deliver(DELTA)
        await channel.take()
        assert read == [channel], "once"

    asyncio.run(main())


def test_take_wakes_for_an_error() -> None:
    async def main() -> None:
        channel = ticket()
        reader = asyncio.create_task(channel.take())
        await asyncio.sleep(0)
        channel.fail(WorkerFailed("broken"))
        with pytest.raises(WorkerFailed, match="broken"):
            await reader

    asyncio.run(main())


def test_events_come_before_the_error() -> None:
    """Tokens that were computed before the failure still reach the client."""

    async def main() -> None:
        channel = ticket()
        channel.deliver(DELTA)
        error = WorkerFailed("broken")
        channel.fail(error)
        assert await channel.take() == [DELTA]
        assert channel.pending
        for _ in range(2):  # asking again does not hang
            with pytest.raises(ForgeError) as caught:
                await channel.take()
            assert caught.value is error

    asyncio.run(main())


def test_take_that_was_given_up_loses_nothing() -> None:
    async def main() -> None:
        channel = ticket()
        reader = asyncio.create_task(channel.take())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        channel.deliver(DELTA)
        assert await channel.take() == [DELTA]

    asyncio.run(main())


def test_names_do_not_come_again_where_somebody_seeds_the_modules_random() -> None:
    names = set()
    for _ in range(3):
        random.seed(1)
        names.add(new_name())
    assert len(names) == 3
    assert all(len(bytes.fromhex(name)) == 12 for name in names)


def untempered(word: int) -> int:
    """Return the word of a Mersenne Twister's state that an output was made of."""
    word ^= word >> 18
    word ^= word << 15 & 0xEFC60000
    whole = word
    for _ in range(4):
        whole = word ^ whole << 7 & 0x9D2C5680
    word = whole
    for _ in range(2):
        whole = word ^ whole >> 11
    return whole


def guessed(names: Iterator[str]) -> str:
    """Return the name that comes next if these are of a Mersenne Twister: 624 words tell it all."""
    numbers = [int(next(names), 16) for _ in range(624 // 3)]
    words = [number >> shift & 0xFFFFFFFF for number in numbers for shift in (0, 32, 64)]
    twister = random.Random()
    twister.setstate((3, (*map(untempered, words), 624), None))
    return f"{twister.getrandbits(96):024x}"


def test_names_do_not_tell_the_next_one() -> None:
    """Stored responses are found by them."""
    twister = random.Random()
    told = (f"{twister.getrandbits(96):024x}" for _ in count())
    assert guessed(told) == next(told)
    ours = (new_name() for _ in count())
    assert guessed(ours) != next(ours)
