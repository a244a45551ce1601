"""The shipped model, loaded once, and a driver that asks it."""

from __future__ import annotations

import pytest

from workers.forge_tiny import MODEL_PATH
from workers.forge_tiny.asking import Model


@pytest.fixture(scope="session")
def model() -> Model:
    """The embedded model in real llama.cpp."""
    return Model(MODEL_PATH, threads=1)
