"""The lessons of an adapter, and how it learns them."""

from dataclasses import dataclass
from typing import NamedTuple


class Pair(NamedTuple):
    """Tokens of a prompt and of the answer that is to follow."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that fixes an adapter beside its pairs."""

    blocks: int = 8
    """The uppermost, which have matrices."""
    rank: int = 8
    steps: int = 45
    texts: int = 4
    """Pairs in a step."""
    rate: float = 3e-3
    seed: int = 0
