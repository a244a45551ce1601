"""The options of a cluster: what is refused, at the start and at a reload, and how many workers."""

import time
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError, ModelSources
from gateway.config.model_entry import ModelEntry
from gateway.pool.cluster.control import FileSources
from gateway.served import cluster_pools, memory_budget
from gateway.served.always_loaded import AlwaysLoaded
from gateway.served.resident import LoadNeed
from gateway.served.setup import Setup
from gateway.system import host
from gateway.telemetry.metrics.models import Loads, ModelLabels
from gateway.telemetry.metrics.registry import Registry
from tests.support.memory_pool import MemoryPool

CLUSTER = "head:6379"


@pytest.mark.parametrize(
    ("options", "models", "said"),
    [
        ({"max_workers": 2}, 0, "--max-workers: expected none without --cluster"),
        (
            {"cluster": CLUSTER, "workers": 3, "max_workers": 2},
            0,
            "--max-workers: expected as many as --workers",
        ),
        ({"cluster": CLUSTER, "catalog": True}, 1, "--cluster: expected no --catalog"),
        ({"max_workers": 2}, 2, "models.forge-tiny: --max-workers: expected none without"),
    ],
)
def test_what_is_refused(options: dict[str, Any], models: int, said: str) -> None:
    config = Config(**options)
    with pytest.raises(ConfigError, match=said):
        cluster_pools.checked(Setup(config, (ModelEntry(config),) * models, ()))


def test_models_on_nodes_take_no_memory_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of its file is what is known of one, and there is no bound."""
    monkeypatch.setattr(host, "memory_available", lambda: 1)
    entries = [ModelEntry(Config(cluster=CLUSTER, alias=name)) for name in "ab"]
    plan = memory_budget.plan(entries[0].config, entries)
    assert [share.need for share in plan.shares] == [EMBEDDED_MODEL.stat().st_size] * 2
    assert plan.budget > 1 << 60
    for share in plan.shares:
        share.check()


CACHE = "models--org--tiny/snapshots/" + "0a" * 20


@pytest.mark.parametrize(
    ("said", "files", "found"),
    [
        (("hf:org/tiny", ""), (f"{CACHE}/m.gguf",), (f"hf:org/tiny@{'0a' * 20}:m.gguf", None)),
        (
            ("hf:org/tiny", ""),
            (f"{CACHE}/m.gguf", f"{CACHE}/mmproj-m.gguf"),
            (f"hf:org/tiny@{'0a' * 20}:m.gguf", f"hf:org/tiny@{'0a' * 20}:mmproj-m.gguf"),
        ),
        (("https://host/m.gguf?k=1", ""), ("m.gguf",), ("https://host/m.gguf?k=1", None)),
        (("m.gguf", ""), ("m.gguf", "mmproj-m.gguf"), (None, None)),
        (("m.gguf", "https://host/p.gguf"), ("m.gguf", "p.gguf"), (None, "https://host/p.gguf")),
    ],
)
def test_nodes_get_files_by_the_same_sources(
    tmp_path: Path,
    said: tuple[str, str],
    files: tuple[str, ...],
    found: tuple[str | None, str | None],
) -> None:
    """As far as it was one: a path is a path there, too."""
    for each in files:
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).write_bytes(b"GGUF")
    paths = {"model": tmp_path / files[0]}
    more = {"mmproj": str(tmp_path / files[1])} if said[1] else {}
    config = Config(cluster=CLUSTER).with_files(ModelSources(*said), **paths, **more)
    assert cluster_pools.sources(config) == FileSources(*found)
    assert cluster_pools.sources(config.model_copy(update={"workers": 2})) == FileSources(*found)


def test_the_most_workers() -> None:
    assert cluster_pools.most(Config(workers=2)) == 2
    assert cluster_pools.most(Config(workers=2, cluster=CLUSTER, max_workers=5)) == 5


@pytest.mark.anyio
@pytest.mark.parametrize("force", [False, True])
async def test_room_is_a_matter_of_places(*, force: bool) -> None:
    """The memory of this machine has nothing to do with it; --force says that there are some."""
    config = Config(cluster=CLUSTER, force=force, model=EMBEDDED_MODEL)
    loads = Loads(Registry(), ModelLabels(["m"], "others"))
    loader = AlwaysLoaded("m", MemoryPool(1), time.monotonic_ns, loads, config)
    room = await loader.make_room("m", config, LoadNeed(1 << 60))
    assert room is not None
    assert (room.beside, room.size) == (force, 0)
