"""The workers that nodes have room for, as far as that is known before they are placed. Pure.

An example: two nodes have 8 CPUs each, and each has a worker of 4: two more of 4 find a place, one
of 6 does not, and one of 4 that must have the label ``kind=gpu`` finds one where a node has it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.pool.cluster.control import Need

MOST = 1_000_000
"""Workers that need nothing find a place anywhere."""
ROUNDED = 1e-6
"""Ray counts in ten thousandths."""


class NodeFacts(NamedTuple):
    """The facts about a node."""

    labels: Mapping[str, str]
    free: Mapping[str, float]
    """Of each resource the part that nothing has reserved."""


def places(nodes: Iterable[NodeFacts], need: Need) -> int:
    """Return how many more workers the nodes have room for."""
    return min(MOST, sum(_fitting(node, need) for node in nodes))


def _fitting(node: NodeFacts, need: Need) -> int:
    if not all(_has(node.labels, label, value) for label, value in need.labels.items()):
        return 0
    amounts = {"CPU": need.cpus, "GPU": need.gpus, **need.resources}
    counts = [
        math.floor(node.free.get(name, 0.0) / amount + ROUNDED)
        for name, amount in amounts.items()
        if amount
    ]
    return min(counts, default=MOST)


def _has(labels: Mapping[str, str], label: str, wanted: str) -> bool:
    """Return whether a node has a label's value, or with ``!`` before it any other or none."""
    found = labels.get(label)
    return found != wanted[1:] if wanted.startswith("!") else found == wanted
