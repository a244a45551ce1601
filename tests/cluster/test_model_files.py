"""Nodes with homes of their own get the model from a hub on this machine, each once."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.model_files import url_cache
from tests.conftest import Start
from tests.e2e.test_same_text import GREEDY, PROMPTS, alone
from tests.support.hub import TOKEN, Hub, serving
from tests.support.killing import whole
from tests.support.ray_nodes import RayNodes, parent, ray_nodes
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.traffic import Streaming

pytestmark = pytest.mark.timeout(300)
NAME = "tiny-F32.gguf"
SLOW_S = 6 * DEADLINE_S
"""A download that stands still is given up after 20 s, and goes on."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    yield from serving(Hub())


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    """None but the head's, until a test adds some."""
    pytest.importorskip("ray")
    with ray_nodes() as found:
        yield found


def add(nodes: RayNodes, name: str, home: Path, cpus: int = 1) -> None:
    """Add a node whose user has a home of its own, and knows nothing of the hub."""
    env = {"HF_HOME": str(home / "hf"), "XDG_CACHE_HOME": str(home / "cache")}
    nodes.add(name, cpus, env_vars=env)


def ready(server: ForgeServer, count: int) -> None:
    """Wait until all workers serve."""

    def serve() -> bool:
        return [each["state"] for each in server.workers()] == ["ready"] * count

    eventually(serve, "all serve", SLOW_S)


def models(home: Path) -> list[Path]:
    """Return the whole models below a home, each once."""
    return sorted({each.resolve() for each in home.rglob("*.gguf")})


@pytest.fixture
def model(exact: tuple[Path, tuple[str, ...]], hub: Hub) -> tuple[str, ...]:
    """Put the model into the hub, and return the options with which its texts are exact."""
    path, options = exact
    hub.repositories["org/tiny"] = {NAME: path.read_bytes()}
    hub.files[NAME] = path.read_bytes()
    return options


def test_each_node_downloads_the_model_once(
    start_server: Start,
    nodes: RayNodes,
    hub: Hub,
    model: tuple[str, ...],
    exact_server: ForgeServer,
    tmp_path: Path,
) -> None:
    """By the gateway's token, which stays in the download's own process."""
    hub.gated.add("org/tiny")
    homes = {name: tmp_path / name for name in ("one", "two")}
    for name, home in homes.items():
        add(nodes, name, home, cpus=2)
    server = start_server(
        "--cluster", nodes.address, "--workers", "4", "--slots", "4", "--model", "hf:org/tiny",
        "--log-level", "debug", *model, model=None,
        env={**hub.environment(str(tmp_path / "gateway")), "HF_TOKEN": TOKEN},
    )  # fmt: skip
    ready(server, 4)
    workers = server.workers()
    assert sorted(each["node"] for each in workers) == ["one", "one", "two", "two"]
    assert [each["download"] for each in workers] == [None] * 4
    for home in homes.values():
        assert len(models(home)) == 1
    contents = [each for each in hub.seen if each.path.startswith("/contents/")]
    assert len(contents) == 3, "the gateway's and two nodes'"
    assert re.search(r"node one gets tiny-F32\.gguf: .* of ", server.stderr)
    assert TOKEN not in server.stderr
    logs = [each for each in nodes.logs.rglob("*") if each.is_file()]
    assert [each for each in logs if TOKEN.encode() in each.read_bytes()] == []
    assert len(logs) > 10
    for pid in server.pids():
        for each in (pid, parent(pid)):
            assert TOKEN.encode() not in Path(f"/proc/{each}/environ").read_bytes()

    expected = [alone(exact_server, prompt, **GREEDY) for prompt in PROMPTS]
    streams = [Streaming(server, prompt, **GREEDY) for prompt in PROMPTS]
    assert [whole(stream) for stream in streams] == expected
    server.stop()


def test_a_node_that_joins_gets_it_while_others_serve(
    start_server: Start, nodes: RayNodes, hub: Hub, model: tuple[str, ...], tmp_path: Path
) -> None:
    """Progress is shown; a download that stands still goes on where it was."""
    add(nodes, "one", tmp_path / "one")
    url = f"{hub.url}/files/{NAME}"
    server = start_server(
        "--cluster", nodes.address, "--workers", "2", "--slots", "4", "--model", url, *model,
        model=None, ready=False, env=hub.environment(str(tmp_path / "gateway")),
    )  # fmt: skip
    eventually(server._announced, "one serves")
    hub.hold_after = 1 << 20
    add(nodes, "two", tmp_path / "two")
    found = eventually(lambda: [each for each in server.workers() if each["download"]], "it comes")
    (coming,) = found
    assert (coming["node"], coming["state"]) == ("two", "starting")
    eventually(lambda: any(_done(each) for each in server.workers()), "some of it is there")
    assert coming["download"]["file"] == NAME
    assert alone(server, PROMPTS[0], **GREEDY)
    hub.hold_after = None
    ready(server, 2)
    assert hub.seen[-1].range is not None
    assert {each["node"] for each in server.workers()} == {"one", "two"}
    server.stop()


def _done(worker: dict[str, object]) -> bool:
    download = worker["download"]
    return isinstance(download, dict) and download["done"] > 0


def test_nodes_without_the_file_or_with_another(
    start_server: Start, nodes: RayNodes, hub: Hub, model: tuple[str, ...], tmp_path: Path
) -> None:
    """They are not used, the log says why, and they are tried again."""
    url = f"{hub.url}/files/{NAME}"
    blocked, other = tmp_path / "blocked", tmp_path / "other"
    (blocked / "cache").parent.mkdir()
    (blocked / "cache").write_text("a file where the cache should be")
    place = url_cache.place(url, url).relative_to(url_cache.cache().parent.parent)
    wrong = other / "cache" / place
    wrong.parent.mkdir(parents=True)
    content = bytearray(hub.files[NAME])
    content[-1] ^= 1
    wrong.write_bytes(content)
    for name in ("one", "blocked", "other"):
        add(nodes, name, tmp_path / name)
    server = start_server(
        "--cluster", nodes.address, "--workers", "3", "--slots", "4", "--model", url, *model,
        model=None, ready=False, env=hub.environment(str(tmp_path / "gateway")),
    )  # fmt: skip
    eventually(server._announced, "one serves")
    eventually(lambda: "(node blocked); restarting" in server.stderr, "the first reason")
    eventually(
        lambda: (
            "the model's file on other is another than on the gateway's machine" in server.stderr
        ),
        "the second",
    )
    assert re.search(rf"{NAME} can't be had: .*can't write into .*\(node blocked\)", server.stderr)
    assert [each["state"] for each in server.workers()].count("ready") == 1
    assert alone(server, PROMPTS[0], **GREEDY)
    (blocked / "cache").unlink()
    wrong.write_bytes(hub.files[NAME])
    ready(server, 3)
    assert {each["node"] for each in server.workers()} == {"one", "blocked", "other"}
    server.stop()
