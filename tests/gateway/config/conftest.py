"""Fixtures of the tests about the configuration."""

from pathlib import Path

import pytest


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that begins like a GGUF; more is not read here."""
    path = tmp_path / "some model.v1.gguf"
    path.write_bytes(b"GGUF and more")
    return path
