"""Folders of prefixes: one for each model, version and way to compute it."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from gateway.system import prefix_folders
from gateway.system.prefix_folders import clear, listed, of_model, prepare, root, secret_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_a_folder_is_for_one_model_and_way() -> None:
    model = Path("/models/a b.gguf")
    folder = prepare(model, [b"print", b"f16"])
    assert folder == prepare(model, [b"print", b"f16"])
    others = {prepare(model, facts) for facts in ([b"other", b"f16"], [b"print", b"q8_0"], [b"p"])}
    assert len({folder, *others}) == 4
    assert folder.parent == root()
    assert folder.name.startswith("a_b-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(listed())) == 4


def test_facts_do_not_run_into_each_other() -> None:
    model = Path("/m.gguf")
    assert prepare(model, [b"ab", b"c"]) != prepare(model, [b"a", b"bc"])


def test_the_secret_is_made_once_and_for_this_user_alone() -> None:
    prepare(Path("/m.gguf"), [])
    secret = secret_file().read_bytes()
    assert len(secret) == 32
    assert stat.S_IMODE(secret_file().stat().st_mode) == 0o600
    prepare(Path("/m.gguf"), [])
    assert secret_file().read_bytes() == secret
    assert [path.name for path in secret_file().parent.iterdir()] == ["prefixes.secret"]


def test_what_another_version_left_for_a_model_goes() -> None:
    model, other = Path("/m.gguf"), Path("/o.gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_folders, "__version__", "0.0.1")
        old, kept = prepare(model, []), prepare(other, [])
    (old / "1.kv").write_bytes(b"x")
    new = prepare(model, [])
    assert {each.path for each in listed()} == {kept, new}


def test_a_cleared_folder_goes_unless_it_is_in_use() -> None:
    folder = prepare(Path("/m.gguf"), [])
    (folder / "1.kv").write_bytes(b"x" * 10)
    (found,) = listed()
    assert (found.files, found.size, found.about.model) == (1, 10, "/m.gguf")
    user = os.open(folder, os.O_RDONLY)
    fcntl.flock(user, fcntl.LOCK_SH)
    assert clear(found) == 10
    assert folder.exists()
    assert not list(folder.glob("*.kv"))
    os.close(user)
    assert clear(found) == 0
    assert not folder.exists()


def test_links_and_foreign_files_are_left_alone(home: Path) -> None:
    folder = prepare(Path("/m.gguf"), [])
    mine = home / "mine.kv"
    mine.write_bytes(b"mine")
    (folder / "link.kv").symlink_to(mine)
    (root() / "link").symlink_to(folder)
    (root() / "foreign").mkdir()
    (found,) = listed()
    assert found.files == 0
    assert clear(found) == 0
    assert mine.exists()
    assert (root() / "foreign").exists()


def test_the_folders_of_a_model_are_found_by_its_files() -> None:
    folder = prepare(Path("/m.gguf"), [])
    prepare(Path("/o.gguf"), [])
    assert [each.path for each in of_model([Path("/m.gguf"), Path("/n.gguf")])] == [folder]
