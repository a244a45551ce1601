"""What all contract tests share: a client per dialect, and an eye on the workers."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.dialects import DIALECTS, OPENAI, Dialect
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
