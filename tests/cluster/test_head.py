"""The head dies and comes back with the state that it kept, while 16 streams run."""

from pathlib import Path

import pytest

from tests.conftest import Start
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.killing import SAMPLED, whole
from tests.support.ray_nodes import RayNodes, driver_of, kill, parent
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import Streaming

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]


def begun(server: ForgeServer) -> list[Streaming]:
    """Sixteen streams that run."""
    streams = [Streaming(server, prompt, **SAMPLED) for prompt in PROMPTS]
    for stream in streams:
        stream.wait_for(20)
    return streams


def test_its_control_service_alone(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], kept_nodes: RayNodes
) -> None:
    model, options = exact
    shape = ("--cluster", kept_nodes.address, "--workers", "3", "--slots", "6")
    server = start_server(*shape, *options, model=model)
    expected = [alone(server, prompt, **SAMPLED) for prompt in PROMPTS]
    driver, workers = driver_of(server), server.pids()
    streams = begun(server)
    kept_nodes.kill_control()
    assert [whole(stream) for stream in streams] == expected, "without a head"
    again = begun(server)
    kept_nodes.start_control()
    assert [whole(stream) for stream in again] == expected
    assert (driver_of(server), server.pids()) == (driver, workers), "all are as they were"

    # A new actor needs the service.
    kill(parent(workers[1]))
    eventually(lambda: sum(each["restarts"] for each in server.workers()) == 1, "it is noticed")
    eventually(lambda: all(each["state"] == "ready" for each in server.workers()), "they serve")
    assert alone(server, PROMPTS[0], **SAMPLED) == expected[0]
    server.stop()


def test_all_of_it(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], kept_nodes: RayNodes
) -> None:
    """The driver is on its node, so that all workers start again; the other nodes stay."""
    model, options = exact
    shape = ("--cluster", kept_nodes.address, "--workers", "3", "--slots", "6")
    server = start_server(*shape, *options, model=model)
    expected = [alone(server, prompt, **SAMPLED) for prompt in PROMPTS]
    streams = begun(server)
    kept_nodes.restart_head()
    assert [whole(stream) for stream in streams] == expected
    eventually(lambda: all(each["state"] == "ready" for each in server.workers()), "they serve")
    assert {each["node"] for each in server.workers()} == kept_nodes.names
    server.stop()
