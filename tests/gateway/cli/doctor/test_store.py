"""The place for files and batches, as forge doctor looks at it."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.cli.doctor.store import place
from gateway.config.config import Config


def levels(config: Config) -> list[str]:
    return [each.level for each in place(config)]


def test_without_one_there_is_nothing_to_tell() -> None:
    assert levels(Config()) == []


def test_a_folder_is_looked_at_and_not_made(tmp_path: Path) -> None:
    (found,) = place(Config(data_dir=tmp_path / "a" / "b"))
    assert found.level in ("ok", "warning")
    assert str(tmp_path / "a" / "b") in found.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "a\x00b"])
def test_what_is_no_folder_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = place(Config(data_dir=tmp_path / name))
    assert found.level == "error"
    assert found.advice


def test_a_password_is_not_shown() -> None:
    (found,) = place(Config(database=SecretStr("postgresql://a:hunter2@b/c")))
    assert found.level == "ok"
    assert "hunter2" not in found.message
