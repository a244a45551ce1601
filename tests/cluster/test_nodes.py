"""A server in a cluster of three nodes: what it serves, and where its workers run."""

import re

import pytest

from tests.cluster.conftest import NODES, StartOnNodes
from tests.e2e.test_same_text import GREEDY, PROMPTS, alone
from tests.support.killing import whole
from tests.support.ray_nodes import RayNodes
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import Streaming

pytestmark = pytest.mark.timeout(300)

LONG_TEXT = "what is 2+2? " * 40_000
"""Half a megabyte: eight calls of an actor on the way there, and its tokens as many back."""


def test_workers_over_nodes(start_on_nodes: StartOnNodes, exact_server: ForgeServer) -> None:
    server = start_on_nodes(3, 6)
    workers = server.workers()
    assert sorted(worker["node"] for worker in workers) == sorted(NODES)
    assert all(worker["address"] for worker in workers)
    with server.client() as client:
        text = client.get("/metrics", headers={"Accept": "text/plain"}).text
    series = re.findall(r'^forge_node_workers\{node="(\w+)"\} ([\d.]+)$', text, re.MULTILINE)
    assert {node: float(count) for node, count in series} == dict.fromkeys(NODES, 1)

    expected = [alone(exact_server, prompt, **GREEDY) for prompt in PROMPTS]
    streams = [Streaming(server, prompt, **GREEDY) for prompt in PROMPTS]
    assert [whole(stream) for stream in streams] == expected
    assert all(worker["steps"] for worker in server.workers()), "each computed some"

    with server.client() as client, exact_server.client() as local:
        body = {"content": LONG_TEXT}
        there, here = (each.post("/tokenize", json=body).json() for each in (client, local))
    assert len(here["tokens"]) > 100_000
    assert there == here


def test_a_node_that_joins_is_used(start_on_nodes: StartOnNodes, nodes: RayNodes) -> None:
    """A worker without a place waits for one, and the others serve meanwhile."""
    server = start_on_nodes(4, 4, ready=False)
    eventually(server._announced, "the server announces itself")
    eventually(lambda: states(server) == ["ready"] * 3 + ["starting"], "three have places")
    assert "for a node with 1 CPU" in eventually(lambda: server.stderr, "the log")
    assert alone(server, PROMPTS[0], **GREEDY)
    nodes.add("four")
    eventually(lambda: states(server) == ["ready"] * 4, "the fourth has one")
    assert {worker["node"] for worker in server.workers()} == nodes.names
    server.stop()


def states(server: ForgeServer) -> list[str]:
    """Return the workers' states in the order of the alphabet."""
    return sorted(worker["state"] for worker in server.workers())
