"""The embedded model, loaded once: as it is, and as an F32 copy whose results are exact."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import Driver, driver, loaded
from tests.support.f32 import f32_copy
from workers.llama import Model


@pytest.fixture(scope="session")
def f16_model() -> Iterator[Model]:
    with loaded(EMBEDDED_MODEL) as model:
        yield model


@pytest.fixture(scope="session")
def f32_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("f32") / "exact.gguf"
    f32_copy(EMBEDDED_MODEL, path)
    return path


@pytest.fixture(scope="session")
def f32_model(f32_path: Path) -> Iterator[Model]:
    with loaded(f32_path) as model:
        yield model


@pytest.fixture
def f16(f16_model: Model) -> Iterator[Driver]:
    """The embedded model as it is served, with 512 cells."""
    with driver(f16_model, EMBEDDED_MODEL) as made:
        yield made


@pytest.fixture
def exact(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """One text for one request, however it is batched; 512 cells."""
    with driver(f32_model, f32_path, exact=True) as made:
        yield made
