"""Who may import whom, read from the sources and from a fresh interpreter."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GATEWAY = sorted((ROOT / "gateway").rglob("*.py"))
WORKERS = sorted((ROOT / "workers").rglob("*.py"))
DEVELOPMENT = ROOT / "workers" / "forge_tiny"
"""Corpus and trainer of the embedded model: never imported by a running worker."""
PURE = [
    ROOT / name
    for name in (
        "gateway/ordering/aging.py",
        "gateway/served/load_policy.py",
        "gateway/dispatch/rate_limits.py",
        "gateway/telemetry/metrics/exposition.py",
        "gateway/telemetry/metrics/instruments.py",
        "gateway/dashboard/deltas.py",
        "gateway/dashboard/history.py",
        "gateway/pool/placement.py",
        "gateway/cli/quantize/loss.py",
        "gateway/cli/quantize/types.py",
        "gateway/cli/chat/slash_commands.py",
        "gateway/cli/chat/conversation.py",
        "gateway/cli/tune/plan.py",
        "workers/planning/batcher.py",
        "workers/planning/step_budget.py",
        "workers/kv/cells.py",
        "workers/kv/prefix_cache.py",
        "workers/kv/host_cache.py",
        "workers/kv/radix.py",
        "workers/kv/kv.py",
        "workers/engine/pooling.py",
        "workers/output/detokenizer.py",
        "workers/sampling/stages.py",
        "workers/sampling/dry.py",
    )
] + sorted((ROOT / "workers" / "speech").glob("*.py"))


LLAMA = ROOT / "workers" / "llama"
NUMERIC = (
    "workers/planning/step_budget.py", "workers/sampling/logprobs.py", "workers/engine/pooling.py", "workers/tools/quantize.py",
)  # fmt: skip
"""Arithmetic on what llama.cpp computed."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Every module that ``path`` imports, also inside functions: ``a.b`` for "from a import b"."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join((*home, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def reaches(path: Path, *packages: str) -> set[str]:
    """What ``path`` imports of ``packages``."""
    return {
        imported
        for imported in imports(path)
        if any(imported == package or imported.startswith(f"{package}.") for package in packages)
    }


def test_files_are_found() -> None:
    assert len(GATEWAY) > 15
    assert len(WORKERS) > 10
    assert all(path.exists() for path in PURE)


@pytest.mark.parametrize("path", GATEWAY, ids=name)
def test_gateway_knows_only_the_protocol_of_the_workers(path: Path) -> None:
    ours = reaches(path, "workers")
    assert ours == reaches(path, "workers.protocol")
    assert not reaches(path, "llama_cpp", "numpy", "torch", "gguf", "tests", "bench")


@pytest.mark.parametrize("path", WORKERS, ids=name)
def test_workers_know_nothing_of_the_gateway(path: Path) -> None:
    assert not reaches(path, "gateway", "starlette", "uvicorn", "uvloop", "asyncio", "tests")


@pytest.mark.parametrize("path", WORKERS, ids=name)
def test_one_package_talks_to_llama_cpp(path: Path) -> None:
    if LLAMA not in path.parents and DEVELOPMENT not in path.parents:
        assert not reaches(path, "llama_cpp")
        assert name(path) in NUMERIC or not reaches(path, "numpy")


@pytest.mark.parametrize("path", WORKERS, ids=name)
def test_running_workers_do_not_need_the_development_tools(path: Path) -> None:
    if DEVELOPMENT not in path.parents:
        assert not reaches(path, "workers.forge_tiny", "torch", "tokenizers", "gguf")


@pytest.mark.parametrize("path", PURE, ids=name)
def test_pure_modules_do_no_io_and_read_no_clock(path: Path) -> None:
    outside = ("asyncio", "socket", "time", "datetime", "threading", "os", "random", "llama_cpp")
    assert not reaches(path, *outside)


def test_the_protocol_stands_alone() -> None:
    parts = {name: ROOT / "workers" / f"{name}.py" for name in ("protocol", "jobs", "spec")}
    ours = {name: reaches(path, "workers", "gateway") for name, path in parts.items()}
    assert ours["protocol"] == reaches(
        parts["protocol"], "workers.protocol.spec", "workers.protocol.jobs"
    )
    assert ours["jobs"] == {"workers.protocol.spec.WorkerSpec"}
    assert not ours["spec"]


def test_importing_the_gateway_loads_no_engine() -> None:
    """Also not by accident, through somebody who imports somebody."""
    source = (
        "import sys, gateway.app, gateway.cli, gateway.server\n"
        "heavy = {'llama_cpp', 'numpy', 'torch', 'workers.engine.engine', 'workers.llama'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_importing_the_worker_loads_no_gateway() -> None:
    source = (
        "import sys, workers.__main__\n"
        "heavy = {'gateway', 'asyncio', 'starlette', 'uvicorn', 'torch', 'workers.forge_tiny'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
