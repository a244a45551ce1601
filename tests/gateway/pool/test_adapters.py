"""The adapters of a pool: all workers come to the same list, and a refusal changes nothing."""

import asyncio
import logging
from typing import Any, cast

import pytest

from gateway.pool import AdapterRefused
from gateway.pool.adapters import PoolAdapters
from gateway.pool.link import WorkerLink
from tests.support.played_front import until
from workers.protocol import AdapterFile, AdapterLoaded, ModelInfo, Ready

pytestmark = pytest.mark.anyio


def file(name: str) -> AdapterFile:
    return AdapterFile(name, (f"/{name}",), name, 1, 1)


A, B, C = map(file, "abc")


class PlayedLink:
    """A worker's link that answers at once, or when the test says so."""

    def __init__(self, refuses: dict[str, str] | None = None, *, slow: bool = False) -> None:
        self.has: set[str] = set()
        self.refuses = refuses or {}
        self.slow = slow
        self.waiting: list[tuple[str, asyncio.Future[str]]] = []

    def load_adapter(self, adapter: AdapterFile) -> asyncio.Future[str]:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiting.append((adapter.digest, answer))
        if not self.slow:
            self.answer()
        return answer

    def answer(self, problem: str = "") -> None:
        for digest, answer in self.waiting:
            found = problem or self.refuses.get(digest, "")
            if not found:
                self.has.add(digest)
            if not answer.done():
                answer.set_result(found)
        self.waiting.clear()

    def unload_adapter(self, digest: str) -> None:
        self.has.discard(digest)


def pool(*links: PlayedLink, files: tuple[AdapterFile, ...] = ()) -> PoolAdapters:
    return PoolAdapters(files, lambda: cast(list[WorkerLink], list(links)))


def ready(*digests: str, refused: tuple[AdapterLoaded, ...] = ()) -> Ready:
    info = ModelInfo("m", "", 1, 1, 1, 1, 1, 1, 1, 1)
    return Ready(1, 1, info, list(digests), list(refused))


def greet(made: PoolAdapters, link: PlayedLink, said: Ready) -> None:
    made.greet(cast(Any, link), said)


async def test_all_workers_have_what_is_wanted() -> None:
    left, right = PlayedLink(), PlayedLink()
    made = pool(left, right)
    for wanted in ([A], [A, B], [B, C], [], [A, B, C]):
        await made.change(wanted)
        assert left.has == right.has == {each.digest for each in wanted}
        assert list(made.files) == wanted


async def test_a_refusal_changes_nothing() -> None:
    left, right = PlayedLink(), PlayedLink({"b": "no room"})
    made = pool(left, right)
    await made.change([A])
    with pytest.raises(AdapterRefused, match="no room"):
        await made.change([A, B])
    assert left.has == right.has == {"a"}
    assert list(made.files) == [A]
    await made.change([A, C])
    assert left.has == right.has == {"a", "c"}


async def test_a_worker_that_ends_meanwhile_is_a_refusal() -> None:
    left, right = PlayedLink(), PlayedLink(slow=True)
    made = pool(left, right)
    change = asyncio.create_task(made.change([A]))
    await until(lambda: bool(right.waiting))
    right.answer("a worker ended while it loaded it")
    with pytest.raises(AdapterRefused):
        await change
    assert left.has == set()
    assert made.files == ()


async def test_an_admin_who_hangs_up_leaves_nothing_behind() -> None:
    link = PlayedLink(slow=True)
    made = pool(link)
    change = asyncio.create_task(made.change([A]))
    await until(lambda: bool(link.waiting))
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    assert made.files == ()
    assert link.has == set()


async def test_changes_wait_for_each_other() -> None:
    link = PlayedLink(slow=True)
    made = pool(link)
    changes = [asyncio.create_task(made.change(wanted)) for wanted in ([A], [A, B], [B])]
    for _ in range(2):
        await until(lambda: bool(link.waiting))
        assert len(link.waiting) == 1
        link.answer()
    await asyncio.gather(*changes)
    assert link.has == {"b"}


async def test_a_worker_that_comes_has_what_changed_since_its_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = pool(files=(A, B))
    await made.change([B, C])
    link = PlayedLink()
    link.has = {"a", "b"}
    greet(made, link, ready("a", "b"))
    assert link.has == {"b", "c"}
    refusing = PlayedLink({"c": "broken"})
    with caplog.at_level(logging.ERROR):
        greet(made, refusing, ready("b"))
        greet(made, refusing, ready("c", refused=(AdapterLoaded("b", "gone"),)))
        await asyncio.sleep(0)
    assert {"broken", "gone"} <= {record.getMessage().split()[-1] for record in caplog.records}
