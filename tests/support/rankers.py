"""A server with a model that ranks, and what the model says by itself."""

import math
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import PoolingType

from tests.support.encoder import encoder
from tests.support.server import ALIAS
from tests.support.vectors import Reference

RANK = llama_cpp.LLAMA_POOLING_TYPE_RANK
BOS, SEP = 2, 3
QUERY = "why is the sky blue"
DOCUMENTS = ["because of the air", "x", "cats are not blue, or are they?", "", "the sky! " * 3]
OPTIONS = (
    *("--threads", "1", "--alias", ALIAS, "--flash-attn", "off"),
    *("--cache-type-k", "f32", "--cache-type-v", "f32"),
)
"""With which a score hardly depends on the batch: other sizes only round in another order."""


def cross_encoder(path: Path) -> Path:
    """Write one with one class; return ``path``."""
    encoder(path, PoolingType.RANK)
    return path


def pair(direct: Reference, query: str, document: str) -> list[int]:
    """Return the tokens of a pair of a WordPiece vocabulary."""
    return [BOS, *direct.text_tokens(query), SEP, *direct.text_tokens(document)]


def logits(direct: Reference, query: str, documents: list[str]) -> list[float]:
    """Return what the model itself says of each document."""
    return [float(direct.values(pair(direct, query, each))[0]) for each in documents]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def best_first(scores: list[float]) -> list[int]:
    return [int(at) for at in np.argsort(np.negative(scores), kind="stable")]
