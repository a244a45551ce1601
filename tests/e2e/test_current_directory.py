"""Files of the current directory that are called like our modules are not executed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import MODEL, environment, eventually
from workers.protocol.children import ROOT

NAMES = ("gateway", "workers", "llama_cpp", "msgspec", "multiprocessing", "random")
TEXT = b"The quick brown fox jumps over the lazy dog. " * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory whose modules leave a mark when they are executed."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'mark')!r}, 'a').write('{name} ')"
        )
    (tmp_path / "text").write_bytes(TEXT)
    return tmp_path


def command(*arguments: str) -> list[str]:
    """The command as its console script starts it: the current directory is not on the path."""
    return [
        sys.executable,
        "-P",
        "-c",
        "from gateway.cli.main import main; raise SystemExit(main())",
        *arguments,
    ]


def surroundings(folder: Path) -> dict[str, str]:
    found = environment({"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder / "config")})
    found.pop("PYTHONSAFEPATH", None)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", str(MODEL)),
        ("run", "--model", str(MODEL), "--max-tokens", "2", "hi"),
        ("chat", str(MODEL), "--max-tokens", "2"),
        ("quantize", str(MODEL), "small.gguf", "Q4_0", "--allow-requantize", "--text", "text"),
        ("tune", "--model", str(MODEL), "--seconds", "1", "--workers", "1"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command(folder: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=surroundings(folder),
        input=b"hi\n",
        capture_output=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not (folder / "mark").exists(), (folder / "mark").read_text()


def test_the_server(folder: Path) -> None:
    arguments = ("serve", "--port", "0", "--model", str(MODEL), "--workers", "1")
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            command(*arguments), cwd=folder, env=surroundings(folder), stdout=out, stderr=out
        )
    try:
        eventually(lambda: b"Forge is ready" in (folder / "out").read_bytes(), "it is ready")
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)
    assert not (folder / "mark").exists(), (folder / "mark").read_text()


def test_the_files_would_leave_a_mark(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "workers"], cwd=folder, capture_output=True)
    assert (folder / "mark").read_text().split() == ["workers"]
