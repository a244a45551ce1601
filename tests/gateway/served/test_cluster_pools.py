"""The options of a cluster: what is refused, at the start and at a reload, and how many workers."""

import time
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError
from gateway.config.model_entry import ModelEntry
from gateway.served import cluster_pools
from gateway.served.always_loaded import AlwaysLoaded
from gateway.served.resident import LoadNeed
from gateway.served.setup import Setup
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
        ({"cluster": CLUSTER}, 2, "--cluster: expected one model"),
    ],
)
def test_what_is_refused(options: dict[str, Any], models: int, said: str) -> None:
    config = Config(**options)
    with pytest.raises(ConfigError, match=said):
        cluster_pools.checked(Setup(config, (ModelEntry(config),) * models, ()))


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
