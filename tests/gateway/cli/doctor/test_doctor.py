"""The command forge doctor, whole: on this machine, and where something is missing."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.hub import Hub, serving
from tests.support.server import ForgeServer, environment

ROOT = Path(__file__).parents[4]
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def doctor(
    *arguments: str, env: dict[str, str] | None = None, python: tuple[str, ...] = ("-P",), rc: int
) -> dict[str, list[Any]]:
    """The findings by what was checked, after the exit code was ``rc``."""
    done = subprocess.run(
        [sys.executable, *python, "-m", "gateway.cli", "doctor", "--json", *arguments],
        env=environment({"PYTHONPATH": str(ROOT), **OFFLINE, **(env or {})}),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == rc, done.stdout + done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert (told["result"] == "error") == (rc == 1)
    found: dict[str, list[Any]] = {}
    for each in told["findings"]:
        assert bool(each["advice"]) == (each["level"] != "ok")
        found.setdefault(each["check"], []).append(each)
    return found


@pytest.fixture(scope="module")
def healthy() -> dict[str, list[Any]]:
    return doctor("--port", "0", rc=0)


def test_everything_is_looked_at(healthy: dict[str, list[Any]]) -> None:
    assert set(healthy) >= {
        "python", "packages", "compiler", "llama.cpp", "cpu", "limits", "folders", "disk",
        "model", "memory", "port", "network",
    }  # fmt: skip
    assert all(each["level"] == "ok" for each in healthy["llama.cpp"])
    assert "HF_HUB_OFFLINE" in healthy["network"][0]["message"]
    assert "forge-tiny needs" in healthy["memory"][0]["message"]


@pytest.mark.parametrize("path", ["", "/nonexistent"])
def test_without_dependencies_and_without_compilers(tmp_path: Path, path: str) -> None:
    """A fresh machine: Python alone, which has no packages, and perhaps no compiler."""
    env = {"PATH": path} if path else {}
    found = doctor(env=env, python=("-S", "-P"), rc=1)
    (llama,) = found["llama.cpp"]
    assert "is not installed" in llama["message"]
    assert "llama-cpp-python==" in llama["advice"]
    assert "pydantic" in found["packages"][0]["message"]
    assert found["settings"][0]["level"] == "error"
    if path:
        (compiler,) = found["compiler"]
        assert compiler["level"] == "error"


def test_other_commands_name_the_doctor_where_packages_are_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "gateway.cli", "serve"],
        env=environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "forge doctor says what to install" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_cut_off_or_absent_is_told(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(EMBEDDED_MODEL.read_bytes()[:100_000])
    found = doctor("--model", str(cut), "--port", "0", rc=1)
    assert "cut.gguf" in found["model"][0]["message"]
    found = doctor("--model", str(tmp_path / "none.gguf"), rc=1)
    assert "none.gguf" in found["settings"][0]["message"]


def test_a_model_of_the_hub_is_not_downloaded(tmp_path: Path) -> None:
    with contextlib.contextmanager(serving)(
        Hub({"org/tiny": {"tiny-Q4_K_M.gguf": b"GGUF"}})
    ) as hub:
        env = {**hub.environment(str(tmp_path)), "HF_HUB_OFFLINE": "0"}
        found = doctor("--model", "hf:org/tiny", "--port", "0", env=env, rc=0)
        assert hub.seen == []
    (model,) = found["model"]
    assert "forge pull hf:org/tiny" in model["advice"]
    assert (found["network"][0]["level"], hub.url in found["network"][0]["message"]) == ("ok", True)


def test_a_hub_that_can_not_be_reached_is_a_warning(tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        found = doctor("--port", "0", env={"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url}, rc=0)
    (network,) = found["network"]
    assert network["level"] == "warning"
    assert "HTTPS_PROXY" in network["advice"]


def test_memory_that_does_not_suffice_is_an_error() -> None:
    found = doctor("--workers", "4096", "--port", "0", rc=1)
    assert "would do" in found["memory"][0]["message"]


def test_a_taken_port_is_told(server: ForgeServer) -> None:
    found = doctor("--port", server.url.rpartition(":")[2], rc=0)
    assert "as Forge does" in found["port"][0]["message"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = doctor("--port", str(other.getsockname()[1]), rc=1)
    assert "--port" in found["port"][0]["advice"]


def test_the_wheels_own_file_answers_before_it_is_installed(tmp_path: Path) -> None:
    """Packages can be imported from a zip file, and so from a wheel."""
    archive = shutil.make_archive(str(tmp_path / "forge"), "zip", ROOT, "gateway")
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "gateway.cli", "doctor"],
        env=environment({"PYTHONPATH": archive}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "llama.cpp" in done.stdout
