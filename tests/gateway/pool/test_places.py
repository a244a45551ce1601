"""How many workers nodes have room for."""

import pytest

from gateway.pool.cluster.control import Need
from gateway.pool.cluster.places import MOST, NodeFacts, places

HALF = NodeFacts({"kind": "spot", "region": "a"}, {"CPU": 4.0, "GPU": 0.3, "memory": 1e9})
WHOLE = NodeFacts({"region": "b"}, {"CPU": 8.0, "licence": 1.0})


@pytest.mark.parametrize(
    ("need", "found"),
    [
        (Need(cpus=4), 3),
        (Need(cpus=5), 1),
        (Need(cpus=9), 0),
        (Need(cpus=0.5, gpus=0.1), 3),
        (Need(cpus=0, gpus=1), 0),
        (Need(cpus=1, resources={"licence": 1.0}), 1),
        (Need(cpus=1, resources={"other": 1.0}), 0),
        (Need(cpus=1, labels={"region": "a"}), 4),
        (Need(cpus=1, labels={"kind": "!spot"}), 8),
        (Need(cpus=1, labels={"kind": "spot", "region": "b"}), 0),
        (Need(cpus=0), MOST),
    ],
)
def test_places(need: Need, found: int) -> None:
    assert places([HALF, WHOLE], need) == found


def test_no_nodes() -> None:
    assert places([], Need(cpus=0)) == 0
