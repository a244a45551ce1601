"""Servers whose texts are exact, so that a death must not change a character."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.server import ForgeServer

StartExact = Callable[..., ForgeServer]


@pytest.fixture
def start_exact(start_server: Start, exact: tuple[Path, tuple[str, ...]]) -> StartExact:
    """Starts a server whose texts don't depend on what else runs."""
    model, options = exact

    def start(workers: int, slots: int, *more: str) -> ForgeServer:
        shape = ("--workers", str(workers), "--slots", str(slots))
        return start_server(*shape, *options, *more, model=model)

    return start
