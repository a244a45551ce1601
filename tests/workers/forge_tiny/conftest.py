"""The shipped model, loaded once, and a driver that asks it."""

from __future__ import annotations

import pytest

from workers.forge_tiny import MODEL_PATH
from workers.forge_tiny.asking import ServedTiny


@pytest.fixture(scope="session")
def model() -> ServedTiny:
    """The embedded model in real llama.cpp."""
    return ServedTiny(MODEL_PATH, threads=1)
