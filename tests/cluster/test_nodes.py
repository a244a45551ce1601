"""A server in a cluster of three nodes: what it serves, and where its workers run."""

import re
from pathlib import Path

import pytest

from tests.cluster.conftest import NODES, StartOnNodes
from tests.e2e.test_same_text import GREEDY, PROMPTS, alone
from tests.support.collector import collector
from tests.support.dialects import CHAT
from tests.support.killing import whole
from tests.support.ray_nodes import RayNodes
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import Streaming

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
pytestmark = pytest.mark.timeout(300)

LONG_TEXT = "what is 2+2? " * 40_000
"""Half a megabyte, many times what a socket takes at once, and its tokens as much back."""


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


def test_traces_and_captures_name_the_node(start_on_nodes: StartOnNodes, tmp_path: Path) -> None:
    with collector() as receiver:
        options = ("--data-dir", str(tmp_path / "data"), "--capture", "header")
        server = start_on_nodes(3, 2, *options, env=receiver.environ())
        traced = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Capture": "1"}
        with server.client() as client:
            answer = client.post(CHAT.path, json=CHAT.body(max_tokens=4), headers=traced)
            assert answer.status_code == 200
            id_ = answer.headers["x-capture"]
            eventually(lambda: client.get(f"/captures/{id_}").status_code == 200, "it is written")
            (attempt,) = client.get(f"/captures/{id_}").json()["attempts"]
        spans = receiver.trace(5, TRACE)
    assert attempt["node"] in NODES
    nodes = {each["id"]: each["node"] for each in server.workers()}
    assert nodes[attempt["worker"]] == attempt["node"]
    for part in (spans["prefill"], spans["decode"]):
        assert part.attributes["forge.worker.node"] == attempt["node"]
        assert part.attributes["forge.worker.id"] == attempt["worker"]


def test_a_node_that_joins_is_used(start_on_nodes: StartOnNodes, nodes: RayNodes) -> None:
    """A worker without a place waits for one, and the others serve meanwhile."""
    server = start_on_nodes(4, 4, ready=False)
    eventually(server._announced, "the server announces itself")
    eventually(lambda: states(server) == ["ready"] * 3 + ["starting"], "three have places")
    eventually(lambda: "for a node with 1 CPU" in server.stderr, "the log tells, after a while")
    assert alone(server, PROMPTS[0], **GREEDY)
    nodes.add("four")
    eventually(lambda: states(server) == ["ready"] * 4, "the fourth has one")
    assert {worker["node"] for worker in server.workers()} == nodes.names
    server.stop()


def test_a_node_that_will_go_is_emptied(start_on_nodes: StartOnNodes, nodes: RayNodes) -> None:
    """Its worker finishes what it has, and the next one is on another node."""
    server = start_on_nodes(3, 6)
    expected = [alone(server, prompt, **GREEDY) for prompt in PROMPTS]
    nodes.add("four")
    streams = [Streaming(server, prompt, **GREEDY) for prompt in PROMPTS]
    for stream in streams:
        stream.wait_for(5)
    victim = next(worker["node"] for worker in server.workers() if worker["busy"])
    nodes.drain(victim, 3600)
    assert [whole(stream) for stream in streams] == expected
    eventually(
        lambda: (
            states(server) == ["ready"] * 3
            and {worker["node"] for worker in server.workers()} == {*NODES, "four"} - {victim}
        ),
        "its worker is on another node",
    )
    assert sum(worker["restarts"] for worker in server.workers()) == 1
    assert "its node goes away" in server.stderr
    server.stop()


def states(server: ForgeServer) -> list[str]:
    """Return the workers' states in the order of the alphabet."""
    return sorted(worker["state"] for worker in server.workers())
