"""An order of lines in which those with the same beginning follow each other. Pure.

A prompt's cluster is a chain of digests, of its first 64 characters, its first 128, and so on, each
twice as many. Sorted by it, lines that share 8,192 characters stand together among those that share
4,096, as in a walk through the tree of all prompts: what they share is computed for the first of
them, and found in the prefix cache by the next.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

LENGTHS = [64 << step for step in range(11)]
DIGEST = 3
"""Bytes for each length: two prompts that meet by chance are only neighbours for nothing."""
BEFORE = ("model", "tools", "functions", "instructions", "system")
"""Fields that templates write first."""
PROMPTS = ("messages", "input", "prompt", "query", "documents")


def cluster(body: Mapping[str, Any]) -> bytes:
    """Return the key by which a line is sorted."""
    parts = [body[name] for name in (*BEFORE, *PROMPTS) if name in body]
    text = orjson.dumps(parts)[: LENGTHS[-1]]
    digest, done, key = hashlib.blake2b(digest_size=DIGEST), 0, b""
    for length in LENGTHS:
        if len(text) < length:
            break
        digest.update(text[done:length])
        key += digest.digest()
        done = length
    return key
