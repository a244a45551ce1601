"""What all contract tests share: a client per dialect, and an eye on the workers."""

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.support.dialects import DIALECTS, OPENAI, Dialect
from tests.support.front import blocking_front
from tests.support.server import DEADLINE_S, ForgeServer, eventually


@pytest.fixture(scope="module")
def http(server: ForgeServer) -> Iterator[httpx.Client]:
    """The shared server. Whatever the tests of a module send, no worker may die or stay busy."""
    pids = server.pids()
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        yield client
    eventually(lambda: server.busy() == 0, "all slots are free again")
    assert server.waiting() == []
    assert server.pids() == pids, server.stderr


@pytest.fixture(scope="module")
def front(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A gateway that refuses: in this process, and for every tenth case on the shared server."""
    if request.param == "served":
        yield request.getfixturevalue("http")
    else:
        with blocking_front() as client:
            yield client


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "front" in metafunc.fixturenames:
        metafunc.parametrize("front", ["memory", "served"], indirect=True, scope="module")


def on(item: pytest.Item) -> str | None:
    """Return what the fixture ``front`` is for a test, if it has it."""
    callspec = getattr(item, "callspec", None)
    found = None if callspec is None else callspec.params.get("front")
    return found if isinstance(found, str) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the first of every ten cases of a test for the shared server."""
    seen: Counter[str] = Counter()
    kept = []
    for item in items:
        if on(item) == "served":
            name = item.nodeid.split("[")[0]
            seen[name] += 1
            if seen[name] % 10 != 1:
                continue
            item.add_marker(pytest.mark.usefixtures("server"))
        kept.append(item)
    items[:] = kept


@pytest.fixture(scope="module")
def exact_http(exact_server: ForgeServer) -> Iterator[httpx.Client]:
    """For tests that compare texts."""
    with httpx.Client(base_url=exact_server.url, timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Each way to ask for a generation."""
    assert isinstance(request.param, Dialect)
    return request.param


@pytest.fixture(params=OPENAI, ids=lambda dialect: dialect.name)
def streaming(request: pytest.FixtureRequest) -> Dialect:
    """Each dialect that can stream."""
    assert isinstance(request.param, Dialect)
    return request.param
