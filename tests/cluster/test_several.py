"""Several models in a cluster: each with workers of its own, which come and go."""

from pathlib import Path

import httpx
import pytest

from tests.conftest import Start
from tests.e2e.test_same_text import GREEDY, PROMPTS, alone
from tests.support.killing import whole
from tests.support.ray_nodes import RayNodes, kill, parent
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import Streaming

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]
TABLES = """
cluster = '{address}'
threads = 1
slots = 4
cache-type-k = 'f32'
cache-type-v = 'f32'
flash-attn = 'off'
cache-ram = 64
model = '{model}'
alias = 'wide'
workers = 2
node-labels = {{ kind = '!marked' }}

[models.marked]
model = '{model}'
workers = 1
{more}
node-labels = {{ kind = 'marked' }}

[models.third]
model = '{model}'
workers = 1
"""


def nodes_of(server: ForgeServer, model: str) -> set[str]:
    """Return the nodes on which a model is ready."""
    workers = (each for each in server.workers() if each["model"] == model)
    return {each["node"] for each in workers if each["state"] == "ready"}


def states(server: ForgeServer) -> dict[str, str]:
    return {card["id"]: card["state"] for card in server.get("/v1/models")["data"]}


def test_models_share_the_nodes(
    start_server: Start,
    exact: tuple[Path, tuple[str, ...]],
    exact_server: ForgeServer,
    nodes: RayNodes,
    tmp_path: Path,
) -> None:
    """A model that finds no place gets that of one without work; its label says where it may be."""
    nodes.remove("three")
    nodes.add("marked", labels={"kind": "marked"})
    file = tmp_path / "forge.toml"

    def write(more: str = "") -> None:
        file.write_text(TABLES.format(address=nodes.address, model=exact[0], more=more))

    write()
    server = start_server("--config", str(file), "--log-level", "info", model=None)
    expected = {prompt: alone(exact_server, prompt, **GREEDY) for prompt in PROMPTS}
    assert states(server) == {"wide": "loaded", "marked": "unloaded", "third": "unloaded"}
    eventually(lambda: nodes_of(server, "wide") == {"one", "two"}, "it has the others' places")

    assert alone(server, PROMPTS[0], model="marked", **GREEDY) == expected[PROMPTS[0]]
    assert nodes_of(server, "marked") == {"marked"}
    assert states(server)["wide"] == "loaded", "there was room for both"

    streams = [Streaming(server, prompt, model="marked", **GREEDY) for prompt in PROMPTS[:4]]
    for stream in streams:
        stream.wait_for(5)
    kill(parent(next(each["pid"] for each in server.workers() if each["model"] == "marked")))
    assert [whole(stream) for stream in streams] == [expected[each] for each in PROMPTS[:4]]

    assert alone(server, PROMPTS[1], model="third", **GREEDY) == expected[PROMPTS[1]]
    assert nodes_of(server, "third") <= {"one", "two"}
    assert states(server)["wide"] != "loaded"
    assert "model wide: unloaded (memory)" in server.stderr

    assert alone(server, PROMPTS[2], model="wide", **GREEDY) == expected[PROMPTS[2]]
    assert nodes_of(server, "wide"), "one of its workers has a place, and the other waits"
    assert states(server)["third"] == "loaded"

    alone(server, PROMPTS[0], model="marked", **GREEDY)
    write("ctx = 2048")
    answer = httpx.post(f"{server.url}/models/reload", timeout=120)
    assert answer.status_code == 200, answer.text
    told = {each["model"]: each["change"] for each in answer.json()["models"]}
    assert told["marked"] in ("replaced", "settings")
    assert alone(server, PROMPTS[3], model="marked", **GREEDY) == expected[PROMPTS[3]]
    server.stop()
