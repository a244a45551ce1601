"""Servers that tests share. Starting one takes seconds, so most tests use the same."""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, get_args

import pytest
from hypothesis import settings

from tests.support.f32 import f32_copy
from tests.support.server import ALIAS, MODEL, ForgeServer
from tests.support.shared_servers import SharedServers
from tests.tiers import LONG, Tier, left_out, tier

TESTS = Path(__file__).parent

# No test depends on how long a thing takes.
settings.register_profile("forge", deadline=None)
settings.load_profile("forge")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cover-children",
        action="store_true",
        help="measure the coverage of processes that tests start, too",
    )


def pytest_configure(config: pytest.Config) -> None:
    for name in get_args(Tier):
        config.addinivalue_line("markers", f"{name}: a tier of the tests, see tests/tiers.py")
    if not config.getoption("--cover-children") and not is_controller(config):
        # This process is measured; those that it starts need not be.
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def is_controller(config: pytest.Config) -> bool:
    """Tell whether this process only hands tests to others, which are to be measured."""
    return not hasattr(config, "workerinput") and bool(config.getoption("numprocesses", None))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Look at the files of those tiers only that -m asks for."""
    named = collection_path.relative_to(TESTS) if collection_path.is_relative_to(TESTS) else None
    expression: str = config.getoption("markexpr")
    return True if named is not None and left_out(named, expression) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files = {path: path.relative_to(TESTS) for path in {item.path for item in items}}
    for item in items:
        asked = [name for mark in item.iter_markers("usefixtures") for name in mark.args]
        fixtures = frozenset(getattr(item, "fixturenames", ())).union(asked)
        item.add_marker(tier(files[item.path], fixtures))
    places = {TESTS / file: place for place, file in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


class Start(Protocol):
    """Starts a server that ends with the test."""

    def __call__(
        self,
        *options: str,
        model: Path | None = ...,
        port: int = ...,
        env: Mapping[str, str] | None = ...,
        key: str | None = ...,
        verify: ssl.SSLContext | bool = ...,
        ready: bool = ...,
    ) -> ForgeServer: ...


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def no_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No certificate is trusted unless a test says which.

    httpx would read those of the system for each client that is made, also for plain HTTP: 20 ms
    of computing, hundreds of times while a test waits for something.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("no-authorities")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_tuned_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide what this machine's user has measured and named."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Processes that a module's tests start run without coverage, for a quarter less computing.

    For tests that add load and chance to lines which others run too. Such a module must not be the
    first to ask for a server that all share.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServers]:
    """Servers by their options, for all tests that leave them as they were."""
    servers = SharedServers(lambda: tmp_path_factory.mktemp("server"))
    try:
        yield servers
        servers.stop()
    finally:
        servers.kill()


@pytest.fixture(scope="module")
def server(shared_servers: SharedServers) -> ForgeServer:
    """The embedded model on two workers."""
    return shared_servers("--workers", "2", "--slots", "4")


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A model and options with which a text does not depend on the shape of the batches."""
    model = tmp_path_factory.mktemp("exact") / "f32.gguf"
    f32_copy(MODEL, model)
    kv = ("--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off")
    return model, ("--threads", "1", "--alias", ALIAS, *kv)


@pytest.fixture(scope="module")
def exact_server(exact: tuple[Path, tuple[str, ...]], shared_servers: SharedServers) -> ForgeServer:
    """Two workers that give the same text whatever runs beside it."""
    model, options = exact
    return shared_servers("--workers", "2", "--slots", "8", *options, model=model)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Start]:
    """For tests that need a server of their own."""
    servers: list[ForgeServer] = []

    def start(
        *options: str,
        model: Path | None = MODEL,
        port: int = 0,
        env: Mapping[str, str] | None = None,
        key: str | None = None,
        verify: ssl.SSLContext | bool = True,
        ready: bool = True,
    ) -> ForgeServer:
        directory = tmp_path / f"server-{len(servers)}"
        options = ("--threads", "1", *options)
        server = ForgeServer(
            directory, *options, model=model, port=port, env=env, key=key, verify=verify
        )
        servers.append(server)
        return server.wait_ready() if ready else server

    yield start
    for server in servers:
        server.kill()
