"""The wheel has what runs and nothing else, and runs beside modules that are called like ours."""

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

from gateway import __version__
from tests.packaging.conftest import OFFLINE, ROOT, build
from tests.support.server import environment

MODEL_FILES = {"__init__.py", "README.md", "forge-tiny.gguf", "template.jinja"}
"""The installed part of ``workers/forge_tiny``; its trainer and its corpus stay in the tree."""
TRAP = "raise SystemExit('a module of another package was executed')\n"


def in_the_tree() -> set[str]:
    """Paths of all files of both packages that a server may need."""
    paths = [
        path.relative_to(ROOT)
        for package in ("gateway", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    tiny = Path("workers/forge_tiny")
    return {
        path.as_posix()
        for path in paths
        if not path.is_relative_to(tiny) or path.relative_to(tiny).as_posix() in MODEL_FILES
    }


def test_the_wheel_has_what_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = f"forge_inference_gateway-{__version__}.dist-info"
    modules = {name for name in names if not name.startswith(info)}
    assert modules == in_the_tree()
    assert {"gateway/py.typed", "workers/py.typed"} <= modules
    described = {PurePosixPath(name).name for name in names - modules}
    assert described == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "LICENSE",
        "entry_points.txt",
        "top_level.txt",
    }


def test_the_name_is_ours_and_the_command_is_forge(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"forge_inference_gateway-{__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        commands = archive.read(f"{info}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"]) == ("forge-inference-gateway", __version__)
    assert commands == "[console_scripts]\nforge = gateway.cli.__main__:main\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    required = [each for each in metadata.get_all("Requires-Dist") or [] if "extra ==" not in each]
    assert len(required) == len(project["dependencies"])


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with our wheel and a package whose modules have our names."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    other = tmp_path_factory.mktemp("other")
    (other / "pyproject.toml").write_text(
        '[project]\nname = "other"\nversion = "1"\n'
        '[tool.setuptools]\npy-modules = ["workers", "gateway"]\n'
    )
    for name in ("workers.py", "gateway.py"):
        (other / name).write_text(TRAP)
    theirs = build(other, tmp_path_factory.mktemp("other-wheel"))
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *OFFLINE)
    subprocess.run((*pip, str(wheel), str(theirs)), check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # Dependencies are those of the environment that runs the tests: llama.cpp is not built again.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("show", "{site}/workers/forge_tiny/forge-tiny.gguf"),
        ("run", "--max-tokens", "2", "hi"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_beside_modules_of_the_same_names(
    installed: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (site,) = installed.glob("lib/python*/site-packages")
    assert (site / "workers.py").read_text() == TRAP
    for name in ("workers.py", "gateway.py"):
        (tmp_path / name).write_text(TRAP)
    done = subprocess.run(
        [str(installed / "bin" / "forge"), *(each.format(site=site) for each in arguments)],
        cwd=tmp_path,
        env=environment({"PYTHONPATH": ""}),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if arguments == ("--version",):
        assert done.stdout == f"forge {__version__}\n"
