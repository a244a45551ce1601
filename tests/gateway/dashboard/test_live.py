"""Viewers come and go: one look for all, none for nobody."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.errors import Unavailable
from gateway.dashboard.deltas import Row, Snapshot
from gateway.dashboard.live import COMMENT, Live

pytestmark = pytest.mark.anyio


class World:
    """Something new at each look, until it is told to stand still."""

    def __init__(self) -> None:
        self.looks = 0
        self.still = False
        self.number = 0

    def look(self) -> Snapshot:
        self.looks += 1
        self.number += not self.still
        return Snapshot({"number": self.number})

    def clock(self) -> float:
        return float(self.looks)


def live(world: World, *, period_s: float = 0.0, silence_s: float = 1e3, most: int = 3) -> Live:
    return Live(world.look, world.clock, most=most, period_s=period_s, silence_s=silence_s)


async def some(stream: AsyncIterator[bytes], number: int) -> list[bytes]:
    return [await anext(stream) for _ in range(number)]


async def turns() -> None:
    """Let timers of no delay come round a few times."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_everything_first_and_then_what_changes() -> None:
    shown = live(World())
    shown.join()
    first, second, third = await some(shown.follow(), 3)
    assert first == b'event: state\ndata: {"now":1.0,"facts":{"number":1}}\n\n'
    assert second.startswith(b"event: delta\n")
    assert b'"facts":{"number":3}' in third
    shown.leave()


async def test_nobody_looks_for_nobody() -> None:
    world = World()
    shown = live(world)
    await turns()
    assert world.looks == 0
    shown.join()
    shown.join()
    await some(shown.follow(), 3)
    shown.leave()
    shown.leave()
    looks = world.looks
    await turns()
    assert world.looks == looks


async def test_one_look_for_all() -> None:
    """And all are given the very same bytes."""
    world = World()
    shown = live(world, period_s=0.001)
    streams = [shown.follow() for _ in range(3)]
    for _ in streams:
        shown.join()
    firsts = [(await some(stream, 1))[0] for stream in streams]
    assert firsts[0] is firsts[1] is firsts[2]
    await asyncio.gather(*(some(stream, 5) for stream in streams))
    assert world.looks == shown._audiences[None].broadcast.version
    for _ in streams:
        shown.leave()


class Zoo:
    """Two models; the first has something new at each look, the second only when it is told."""

    def __init__(self) -> None:
        self.looks = self.other = 0

    def look(self) -> Snapshot:
        self.looks += 1
        news = {"one": self.looks, "two": self.other}
        rows: list[Row] = [
            {"id": id_, "model": model, "n": n} for id_, (model, n) in enumerate(news.items(), 1)
        ]
        return Snapshot({"sum": 2}, {"jobs": rows, "points": [{"id": 7}]})


LIMITED = ApiKey("a", b"", models=("t*",))


async def test_a_limited_key_sees_its_models() -> None:
    zoo = Zoo()
    shown = Live(zoo.look, lambda: 0.0, period_s=0.0, silence_s=1e3)
    shown.join()
    shown.join(LIMITED)
    (first,) = await some(shown.follow(LIMITED), 1)
    assert b"one" not in first
    assert b'"model":"two"' in first
    assert b'"facts":{"sum":2}' in first
    assert b'"points"' in first
    (whole,) = await some(shown.follow(), 1)
    assert b'"model":"one"' in whole
    shown.leave(LIMITED)
    await some(shown.follow(), 2)
    shown.leave()
    assert shown.viewers == 0
    assert shown._audiences == {}


async def test_news_of_others_wake_no_one_and_keep_no_stream() -> None:
    """Nor do they reach it as a sign of life: that two viewers differ shows nothing."""
    zoo = Zoo()
    shown = Live(zoo.look, lambda: 0.0, period_s=0.001, silence_s=0.02)
    shown.join()
    shown.join(LIMITED)
    mine = shown.follow(LIMITED)
    first, second = await some(mine, 2)
    assert first.startswith(b"event: state\n")
    assert second == COMMENT
    zoo.other = 5
    while (chunk := (await some(mine, 1))[0]) == COMMENT:
        pass
    assert chunk == b'event: delta\ndata: {"now":0.0,"jobs":{"set":[{"id":2,"n":5}]}}\n\n'
    for key in (ANYONE, LIMITED):
        shown.leave(key)


async def test_keys_with_the_same_models_are_given_the_same_bytes() -> None:
    zoo = Zoo()
    shown = Live(zoo.look, lambda: 0.0, period_s=0.0, silence_s=1e3)
    keys = [LIMITED, ApiKey("b", b"1", models=("t*",))]
    for key in keys:
        shown.join(key)
    one, two = [(await some(shown.follow(key), 1))[0] for key in keys]
    assert one is two
    for key in keys:
        shown.leave(key)


async def test_a_slow_viewer_is_skipped_and_nothing_is_kept_for_it() -> None:
    world = World()
    shown = live(world)
    shown.join()
    slow, steady = shown.follow(), shown.follow()
    await some(slow, 1)
    await some(steady, 50)
    (chunk,) = await some(slow, 1)
    assert chunk.startswith(b"event: state\n"), "everything as it is now"
    assert int(chunk.partition(b'"number":')[2].split(b"}")[0]) >= 49
    shown.leave()


async def test_the_first_one_who_comes_back_sees_nothing_old() -> None:
    world = World()
    shown = live(world)
    shown.join()
    await some(shown.follow(), 1)
    shown.leave()
    world.number = 500
    shown.join()
    (chunk,) = await some(shown.follow(), 1)
    assert b'{"number":501}' in chunk
    shown.leave()


async def test_so_many_and_no_more() -> None:
    shown = live(World())
    for _ in range(3):
        shown.join()
    with pytest.raises(Unavailable, match="3 others watch"):
        shown.join()
    shown.leave()
    shown.join()
    assert shown.viewers == 3
    for _ in range(3):
        shown.leave()


async def test_a_comment_keeps_a_silent_stream() -> None:
    world = World()
    world.still = True
    shown = live(world, silence_s=0.0)
    shown.join()
    chunks = await some(shown.follow(), 3)
    assert chunks[1:] == [COMMENT, COMMENT]
    shown.leave()


async def test_the_end_of_the_server_is_the_end_of_the_stream() -> None:
    world = World()
    world.still = True
    shown = live(world)
    shown.join()
    stream = shown.follow()
    await some(stream, 1)
    rest = asyncio.create_task(_all(stream))
    await turns()
    assert not rest.done()
    shown.close()
    assert await rest == []
    with pytest.raises(Unavailable):
        shown.join()


async def _all(stream: AsyncIterator[bytes]) -> list[bytes]:
    return [chunk async for chunk in stream]


async def test_a_bug_is_not_waited_for() -> None:
    world = World()
    world.still = True
    shown = live(world, period_s=0.01)
    shown.join()
    stream = shown.follow()
    await some(stream, 1)

    def broken() -> Snapshot:
        raise RuntimeError("a bug")

    shown._look = broken
    with pytest.raises(RuntimeError, match="a bug"):
        await some(stream, 1)
    shown._look = world.look
    shown.leave()
    shown.join()
    assert (await some(shown.follow(), 1))[0].startswith(b"event: state\n")
    shown.leave()
