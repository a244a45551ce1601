"""One wheel for all tests, built without network from a copy of the tree."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


def build(source: Path, out: Path) -> Path:
    """Return the wheel of a project. A build writes into ``source``."""
    pip = (sys.executable, "-m", "pip", "wheel", "-q", *OFFLINE, "-w", str(out), str(source))
    subprocess.run(pip, check=True)
    (wheel,) = out.iterdir()
    return wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forge's wheel, of what is in the tree: no list of an earlier build adds to it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("gateway", "workers"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    return build(source, tmp_path_factory.mktemp("wheel"))
