"""A model is replaced on three nodes while clients go on asking: none fails, no text is of two."""

import itertools
from pathlib import Path

import pytest

from tests.cluster.conftest import NODES
from tests.conftest import Start
from tests.support.dialects import CHAT
from tests.support.ray_nodes import RayNodes, kill
from tests.support.reloading import (
    CLIENT,
    PROMPTS,
    House,
    Load,
    changes,
    completed,
    reload,
    report,
    settled,
    two_models,
)
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.traffic import StreamOf

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(600)]
EXACT = (
    "threads = 1", "cache-type-k = 'f32'", "cache-type-v = 'f32'", "flash-attn = 'off'",
    "cache-ram = 64", "slots = 4",
)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return two_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def house(tmp_path: Path, models: tuple[Path, Path], nodes: RayNodes) -> House:
    return House(tmp_path, f"cluster = '{nodes.address}'", *EXACT, model=models[0])


@pytest.mark.timeout(1800)
def test_none_of_2000_fails(house: House, start_server: Start, models: tuple[Path, Path]) -> None:
    """Each node has room for one worker: an old one's place is a new one's."""
    house.lines.append("workers = 3")
    house.write()
    server = house.start(start_server)
    texts = {(prompt, completed(server, prompt)) for prompt in PROMPTS}
    load = Load(server, 10, streamed=3)
    for round_ in itertools.count(1):
        load.more(100)
        house.put(models[round_ % 2])
        told = reload(server).json()
        assert (told["state"], changes(told)) == ("done", {"served": "replaced"})
        assert told["models"][0]["reason"] == "new content of the file"
        if round_ == 1:
            texts |= {(prompt, completed(server, prompt)) for prompt in PROMPTS}
            assert len(texts) == 2 * len(PROMPTS), "the models differ in each text"
        if load.done >= 2000:
            break
    load.end()
    assert load.failures == []
    assert load.texts.keys() <= texts
    settled(server, 3)
    assert sorted(worker["node"] for worker in server.workers()) == sorted(NODES)
    server.stop()


@pytest.mark.parametrize("beside", [False, True], ids=["in its place", "beside"])
def test_an_only_worker(
    house: House,
    start_server: Start,
    nodes: RayNodes,
    models: tuple[Path, Path],
    *,
    beside: bool,
) -> None:
    """The queue waits for the new one, unless a node has room for it beside the old one."""
    for name in () if beside else NODES[1:]:
        nodes.remove(name)
    nodes.settle()  # a place on a dead one would be waited for
    house.lines.append("workers = 1")
    house.write()
    server = house.start(start_server)
    before = completed(server, PROMPTS[0])
    (old,) = server.workers()
    load = Load(server, 6, streamed=2)
    load.more(12)
    house.put(models[1])
    assert changes(reload(server).json()) == {"served": "replaced"}
    assert completed(server, PROMPTS[0]) != before
    load.more(12)
    load.end()
    assert load.failures == []
    settled(server, 1)
    (new,) = server.workers()
    assert new["id"] != old["id"]
    assert (new["node"] != old["node"]) == beside
    house.write("ctx = 1024")
    told = reload(server).json()
    assert told["models"][0] == {"model": "served", "change": "replaced", "reason": "new ctx"}
    server.stop()


def test_old_workers_that_die_have_successors_with_the_old_file(
    house: House, start_server: Start, models: tuple[Path, Path]
) -> None:
    """Its streams end as they began, while new requests are of the new model."""
    house.lines.append("workers = 3")
    house.write()
    server = house.start(start_server)
    alone = [stream.finish() for stream in long_streams(server)]
    streams = long_streams(server)
    for stream in streams:
        stream.wait_for(20)
    house.put(models[1])
    assert reload(server, wait=False).status_code == 202
    eventually(lambda: any(each["state"] == "draining" for each in server.workers()), "it begins")
    staying = next(each for each in server.workers() if each["state"] == "ready" and each["busy"])
    kill(staying["pid"])
    assert [stream.finish() for stream in streams] == alone
    assert not any(stream.error or stream.broken for stream in streams)
    eventually(lambda: report(server)["state"] == "done", "the reload ends", 4 * DEADLINE_S)
    assert changes(report(server)) == {"served": "replaced"}
    settled(server, 3)
    assert [stream.finish() for stream in long_streams(server)] != alone
    server.stop()


def long_streams(server: ForgeServer) -> list[StreamOf]:
    """Begin a stream for each worker."""
    params = {"stream": True, "temperature": 0, "ignore_eos": True, "max_tokens": 1500}
    headers = {"Authorization": f"Bearer {CLIENT}"}
    bodies = [CHAT.body(prompt, **params) for prompt in PROMPTS[:3]]
    return [StreamOf(CHAT, server, body, headers) for body in bodies]


def test_a_damaged_file_leaves_the_old_workers(
    house: House, start_server: Start, models: tuple[Path, Path], tmp_path: Path
) -> None:
    house.lines.append("workers = 3")
    house.write()
    server = house.start(start_server)
    before = completed(server, PROMPTS[0])
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(models[1].read_bytes()[:200_000])
    house.put(damaged)
    answer = reload(server)
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "reload_failed"
    assert changes(report(server)) == {"served": "failed"}
    assert completed(server, PROMPTS[0]) == before
    house.put(models[1])
    assert changes(reload(server).json()) == {"served": "replaced"}
    settled(server, 3)
    server.stop()


def test_what_a_cluster_cant_do_is_refused(house: House, start_server: Start) -> None:
    house.lines.append("workers = 2")
    house.write()
    server = house.start(start_server)
    pids = server.pids()
    house.write("max-workers = 1")
    answer = reload(server)
    assert answer.status_code == 422
    assert "--max-workers: expected as many as --workers" in answer.json()["error"]["message"]
    assert server.pids() == pids
    server.stop()
