"""The user's folders."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateway.system import paths

FOLDERS = [
    (paths.config_folder, "XDG_CONFIG_HOME", ".config"),
    (paths.cache_folder, "XDG_CACHE_HOME", ".cache"),
    (paths.state_folder, "XDG_STATE_HOME", ".local/state"),
]


@pytest.mark.parametrize(("folder", "variable", "usual"), FOLDERS)
def test_a_folder(
    folder: Callable[[Mapping[str, str]], Path],
    variable: str,
    usual: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder({}) == tmp_path / usual / "forge"
    assert folder({variable: str(tmp_path / "other")}) == tmp_path / "other" / "forge"
    for ignored in ("", "relative/path"):
        assert folder({variable: ignored}) == tmp_path / usual / "forge"
