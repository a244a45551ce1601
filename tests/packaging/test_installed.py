"""sdist and wheel in clean environments: nothing of this checkout or of its environment is there.

What Forge depends on comes as wheels of what is installed here, llama.cpp's too; pip resolves it
and asks no network.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import ROOT
from tests.packaging.repacked import closure, repack
from tests.support.server import ForgeServer, environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOWHERE = "http://127.0.0.1:9"
"""No hub and no proxy listens there."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all dependencies, and of what builds an sdist."""
    folder = tmp_path_factory.mktemp("wheels")
    for each in closure([*PROJECT["dependencies"], "setuptools"]).values():
        repack(each, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy of what is in the tree."""
    source, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("sdist")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    for name in ("gateway", "workers", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = out.iterdir()
    return file


def install(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Make an environment in ``folder``, and run pip for it, without a network."""
    venv.create(folder)
    python = str(folder / "bin" / "python")
    # What is imported is compiled then, which is a tenth of it all.
    offline = ("install", "-q", "--no-index", "--no-compile")
    pip = (sys.executable, "-m", "pip", "--python", python, *offline)
    kept = {key: it for key, it in environment().items() if not key.startswith(("PIP_", "PYTHON"))}
    env = {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run((*pip, *arguments), env=env, capture_output=True, text=True)


def bare(folder: Path, home: Path, path: str = "") -> dict[str, str]:
    """The environment of a fresh user: no compilers unless ``path`` has some, and no network."""
    return {
        "PATH": f"{folder / 'bin'}{os.pathsep}{path}".rstrip(os.pathsep),
        "HOME": str(home),
        "HF_ENDPOINT": NOWHERE,
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "NO_PROXY": "localhost",
    }


def doctor(folder: Path, env: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """The exit code and the findings of forge doctor, by what was looked at."""
    command = [str(folder / "bin" / "forge"), "doctor", "--json"]
    done = subprocess.run(
        command, env=env, cwd=env["HOME"], capture_output=True, text=True, timeout=110
    )
    assert done.stderr == ""
    return done.returncode, {each["check"]: each for each in json.loads(done.stdout)["findings"]}


class InstalledServer(ForgeServer):
    """``forge serve`` of another installation."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._logs = home / "stdout", home / "stderr"
        with self._logs[0].open("wb") as out, self._logs[1].open("wb") as err:
            self.process = subprocess.Popen(
                [str(folder / "bin" / "forge"), "serve", "--port", "0"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=home,
                env=bare(folder, home),
            )  # fmt: skip
        self._key, self._verify = None, True
        self.url = ""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_serves_from_a_clean_environment(
    kind: str, request: pytest.FixtureRequest, wheels: Path, tmp_path: Path
) -> None:
    """After the installation there are neither compilers nor a network."""
    folder, home = tmp_path / "environment", tmp_path / "home"
    home.mkdir()
    file: Path = request.getfixturevalue(kind)
    done = install(folder, "--find-links", str(wheels), str(file))
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    assert (site / "gateway").is_dir()
    assert not (site / "tests").exists()
    server = InstalledServer(folder, home).wait_ready()
    try:
        with server.client() as client:
            answer = client.post("/infer", json={"query": "what is 2+2?"})
            page = client.get("/", headers={"Accept": "text/html"})
        assert (answer.status_code, answer.json()["model"]) == (200, "forge-tiny")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        code, found = doctor(folder, bare(folder, home))
        assert code in (0, 1)  # 1: another server has the usual port
        levels = {check: each["level"] for check, each in found.items() if check != "port"}
        assert levels["network"] == "warning"
        assert "error" not in levels.values(), found
        assert "none is needed" in found["compiler"]["message"]
        server.stop()
    finally:
        server.kill()


@pytest.mark.timeout(300)
def test_without_llama_cpp_the_doctor_says_what_to_do(
    wheel: Path, wheels: Path, tmp_path: Path
) -> None:
    """A machine to which no build of llama.cpp came, without and with compilers."""
    some, folder, home = tmp_path / "some", tmp_path / "environment", tmp_path / "home"
    some.mkdir()
    home.mkdir()
    for each in wheels.iterdir():
        if not each.name.startswith("llama_cpp_python"):
            shutil.copy(each, some)
    refused = install(folder, "--find-links", str(some), str(wheel))
    assert refused.returncode != 0
    assert "llama-cpp-python" in refused.stderr
    done = install(folder, "--no-deps", str(wheel))
    assert done.returncode == 0, done.stderr
    code, found = doctor(folder, bare(folder, home))
    assert code == 1
    assert "llama-cpp-python==" in found["llama.cpp"]["advice"]
    assert "not installed: " in found["packages"]["message"]
    assert found["compiler"]["level"] == "error"
    assert "install" in found["compiler"]["advice"]
    if shutil.which("c++") is not None:
        _, found = doctor(folder, bare(folder, home, os.environ["PATH"]))
        assert found["compiler"]["level"] != "error"
    served = subprocess.run(
        [str(folder / "bin" / "forge"), "serve"],
        env=bare(folder, home), capture_output=True, text=True,
    )  # fmt: skip
    assert served.returncode == 2
    assert "forge doctor says what to install" in served.stderr
