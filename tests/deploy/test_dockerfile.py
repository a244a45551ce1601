"""The Dockerfile as far as no engine is needed: it is sound, and fits the rest."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import ForgeServer, environment, free_port

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
INSTRUCTIONS = re.findall(r"^([A-Z]+) +((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CHECK = ROOT / "deploy" / "healthcheck.py"


def arguments(name: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


def copied() -> list[str]:
    """Return what comes from the build context."""
    lines = [line.split() for line in arguments("COPY")]
    return [source for line in lines if "--from=build" not in line for source in line[:-1]]


def test_the_linter_is_content() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    done = subprocess.run([hadolint, "-"], input=DOCKERFILE, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_is_there_and_not_ignored(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def test_versions_are_those_of_the_project() -> None:
    pinned = re.findall(r"\b[a-z][\w-]*==[\w.]+", " ".join(arguments("RUN")))
    assert [name.split("==")[0] for name in pinned] == ["llama-cpp-python"]
    assert set(pinned) <= set(PROJECT["dependencies"])
    installs = [line for line in arguments("RUN") if "pip install" in line]
    assert all("constraints.txt" in line for line in installs if pinned[0] not in line)


def test_everything_that_the_package_needs_is_copied() -> None:
    """A wheel that is made of what is copied, and nothing else, can be made."""
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= set(copied())


def test_it_does_not_run_as_root() -> None:
    (*_, gateway) = DOCKERFILE.split("\nFROM ")
    assert arguments("USER") == ["10001", "10001"]
    assert "\nUSER 10001\n" in gateway


def check(port: int, **extra: str) -> subprocess.CompletedProcess[str]:
    """The health check, in a container where the server listens on ``port``."""
    env = environment({"FORGE_PORT": str(port), "http_proxy": "http://127.0.0.1:9", **extra})
    return subprocess.run([sys.executable, str(CHECK)], env=env, text=True, capture_output=True)


def test_the_health_check_tells_a_server_from_none(server: ForgeServer) -> None:
    port = int(server.url.rpartition(":")[2])
    assert check(port).returncode == 0
    dead = check(free_port())
    assert dead.returncode == 1
    assert "refused" in dead.stderr
    assert check(port, FORGE_SSL_CERTFILE="x").returncode == 1  # it speaks no TLS
