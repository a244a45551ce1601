"""Clients that go away: nothing is computed for nobody."""

from collections.abc import Iterator

import pytest

from tests.contract.dialects import CHAT, COMPLETIONS, INFER, Dialect
from tests.e2e.traffic import ENDLESS, Hanging, jobs_waiting, occupied
from tests.server import ALIAS, ForgeServer, eventually

CASES = [(INFER, False), (CHAT, False), (CHAT, True), (COMPLETIONS, False), (COMPLETIONS, True)]


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """One worker with two slots: one may be left running beside the one that ends."""
    shape = ("--workers", "1", "--slots", "2", "--threads", "1", "--alias", ALIAS)
    server = ForgeServer(tmp_path_factory.mktemp("double"), *shape)
    try:
        yield server.wait_ready()
        server.stop()
    finally:
        server.kill()


def hanging(server: ForgeServer, dialect: Dialect, stream: bool) -> Hanging:
    # /v1/completions would stop after 16.
    params = {**ENDLESS, "max_tokens": 2000} | ({"stream": True} if stream else {})
    return Hanging(server, dialect.path, dialect.body(**params))


def cancelled(server: ForgeServer) -> int:
    count: int = server.get("/metrics")["requests"]["cancelled"]
    return count


@pytest.mark.parametrize(("dialect", "stream"), CASES)
def test_while_queued(double: ForgeServer, dialect: Dialect, stream: bool) -> None:
    with occupied(double, slots=2):
        before = cancelled(double)
        request = hanging(double, dialect, stream)
        eventually(lambda: len(jobs_waiting(double)) == 1)
        request.hang_up()
        eventually(lambda: not jobs_waiting(double), "the queue forgets it")
        # The holders themselves are not disturbed.
        assert (double.busy(), cancelled(double)) == (2, before + 1)


@pytest.mark.parametrize(("dialect", "stream"), CASES)
def test_while_generating(double: ForgeServer, dialect: Dialect, stream: bool) -> None:
    before, decoded = cancelled(double), double.decoded()
    request = hanging(double, dialect, stream)
    if stream:
        request.read_until(b"data: ")
    eventually(lambda: double.decoded() > decoded, "it generates")
    request.hang_up()
    eventually(lambda: double.busy() == 0, "its slot is free")
    assert cancelled(double) == before + 1
    stopped = double.decoded()
    assert stopped < decoded + 2000
    # The worker counts every token it samples: nothing else was computed since.
    another = Hanging(double, INFER.path, INFER.body(max_tokens=5, ignore_eos=True))
    another.read_until(b'"completion_tokens":5')
    another.hang_up()
    assert double.decoded() == stopped + 5


def test_neighbours_go_on(double: ForgeServer) -> None:
    """Of two streams in one batch one hangs up; the other gets all its tokens."""
    params = {**ENDLESS, "max_tokens": 300, "stream": True}
    stays = Hanging(double, COMPLETIONS.path, COMPLETIONS.body("once", **params))
    goes = hanging(double, CHAT, stream=True)
    stays.read_until(b"data: ")
    goes.read_until(b"data: ")
    goes.hang_up()
    rest = stays.read_until(b"data: [DONE]\n\n")
    stays.hang_up()
    assert b'"finish_reason":"length"' in rest
    eventually(lambda: double.busy() == 0)


def test_many_at_once(double: ForgeServer) -> None:
    before = cancelled(double)
    requests = [hanging(double, dialect, stream) for dialect, stream in CASES * 4]
    eventually(lambda: len(double.waiting()) == len(requests) - 2)
    for request in requests:
        request.hang_up()
    eventually(lambda: double.busy() == 0 and not double.waiting(), "all are forgotten")
    assert cancelled(double) == before + len(requests)
    assert double.get("/metrics")["running"] == 0
