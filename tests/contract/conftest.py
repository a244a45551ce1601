"""Fixtures of all contract tests: a client per dialect, and an eye on the workers."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import pytest

from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from tests.support.dialects import DIALECTS, OPENAI, WAYS, Dialect, Way
from tests.support.front import blocking_front
from tests.support.played_front import KEYS, Front
from tests.support.server import ALIAS, DEADLINE_S, ForgeServer, eventually
from tests.support.ways import FREE, serving
from tests.tiers import FRONTS


@pytest.fixture(scope="module")
def http(server: ForgeServer) -> Iterator[httpx.Client]:
    """The shared server. Whatever the tests of a module send, no worker may die or stay busy."""
    pids = server.pids()
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        yield client
    eventually(lambda: server.busy() == 0, "all slots are free again")
    assert server.waiting() == []
    assert server.pids() == pids, server.stderr


@dataclass(frozen=True)
class Gate:
    """The configuration of the gateway in this process."""

    config: Config = field(default_factory=lambda: Config(alias=ALIAS))
    keyring: Keyring | None = None


@pytest.fixture(scope="module")
def gate() -> Gate:
    """The shared server's; a module whose server has other options says so here."""
    return Gate()


@pytest.fixture(scope="module")
def front(request: pytest.FixtureRequest, gate: Gate) -> Iterator[httpx.Client]:
    """A gateway that refuses: in this process, and for every tenth case on the real server."""
    yield from _front(request, gate, answers=False)


@pytest.fixture(scope="module")
def answering(request: pytest.FixtureRequest, gate: Gate) -> Iterator[httpx.Client]:
    """A gateway that answers, with a text that says nothing: as ``front``."""
    yield from _front(request, gate, answers=True)


def _front(request: pytest.FixtureRequest, gate: Gate, *, answers: bool) -> Iterator[httpx.Client]:
    if request.param == "served":
        yield request.getfixturevalue("http")
    else:
        with blocking_front(gate.config, gate.keyring, answers=answers) as client:
            yield client


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name in FRONTS & set(metafunc.fixturenames):
        metafunc.parametrize(name, ["memory", "served"], indirect=True, scope="module")


def on(item: pytest.Item) -> str | None:
    """Return what the gateway of a test is, ``memory`` or ``served``, if it has a front."""
    callspec = getattr(item, "callspec", None)
    params = {} if callspec is None else callspec.params
    (found,) = [params[name] for name in FRONTS & params.keys()] or [None]
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


class Asked(Protocol):
    """Asks for a text that is always the same."""

    def __call__(self, dialect: Dialect, prompt: str, **params: Any) -> str: ...


@pytest.fixture(scope="module")
def once(exact_http: httpx.Client) -> Asked:
    """Ask for a text once, with which several tests compare theirs."""
    known: dict[str, str] = {}

    def ask(dialect: Dialect, prompt: str, **params: Any) -> str:
        asked = repr((dialect.path, prompt, sorted(params.items())))
        if asked not in known:
            known[asked] = dialect.ask(exact_http, prompt, **params).text
        return known[asked]

    return ask


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
async def played() -> AsyncIterator[Front]:
    """A gateway with two keys, of which the first has no limits."""
    async with serving(Front([FREE, *KEYS[1:]], max_queue=2)) as front:
        yield front


@pytest.fixture(params=DIALECTS, ids=str)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Each way to ask for a generation."""
    assert isinstance(request.param, Dialect)
    return request.param


@pytest.fixture(params=[each for each in DIALECTS if each.streams], ids=str)
def streamed(request: pytest.FixtureRequest) -> Dialect:
    """Each dialect that can stream, for what all of them share."""
    assert isinstance(request.param, Dialect)
    return request.param


@pytest.fixture(params=OPENAI, ids=str)
def streaming(request: pytest.FixtureRequest) -> Dialect:
    """The dialects whose streams are chunks of one form."""
    assert isinstance(request.param, Dialect)
    return request.param
