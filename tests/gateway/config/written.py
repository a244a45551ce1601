"""Config files as users write them, and errors as they read them."""

from pathlib import Path

import pytest

from gateway.config.config import ConfigError


def toml(path: Path, text: str) -> Path:
    file = path / "forge.toml"
    file.write_text(text)
    return file


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text
