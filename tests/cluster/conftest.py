"""Servers whose workers run on the nodes of a cluster, with texts that are exact."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.server import ForgeServer

NODES = ("one", "two", "three")
StartOnNodes = Callable[..., ForgeServer]


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    """Three nodes of one CPU."""
    pytest.importorskip("ray")
    with ray_nodes(*NODES) as found:
        yield found


@pytest.fixture
def kept_nodes(tmp_path: Path) -> Iterator[RayNodes]:
    """Three of a head that keeps its state on its disk."""
    pytest.importorskip("ray")
    folder = tmp_path / "control"
    folder.mkdir()
    with ray_nodes(*NODES, kept=folder) as found:
        yield found


@pytest.fixture
def start_on_nodes(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], nodes: RayNodes
) -> StartOnNodes:
    """Starts a server in the cluster."""
    model, options = exact

    def start(workers: int, slots: int, *more: str, **given: Any) -> ForgeServer:
        shape = ("--cluster", nodes.address, "--workers", str(workers), "--slots", str(slots))
        return start_server(*shape, *options, *more, model=model, **given)

    return start
