"""The real `forge tune` on the embedded model, and a server that takes up what it found."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support.server import DEADLINE_S, environment, eventually, gone

SHAPE = ("--workers", "1", "--threads", "1", "--slots", "2")
FEW = ("--seconds", "1", *SHAPE, "--flash-attn", "on", "--cache-type-k", "f16")
"""With these there is only the repacking left to look at: two measurements."""


def forge_tune(home: Path, *options: str, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gateway.cli", "tune", *options]
    env = environment({"XDG_CONFIG_HOME": str(home)})
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, env=env, text=True, **more)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def written(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


def test_measured_written_and_served(tmp_path: Path, start_server: Start) -> None:
    home, results = tmp_path / "home", tmp_path / "results.json"
    code, out, err = ended(forge_tune(home, *FEW, "--json", str(results)))
    assert (code, err) == (0, "")
    (file,) = written(home)
    assert f"Written to {file}" in out
    assert "1x1x2, mapped, on, f16: output tok/s " in out.replace(" *", "")
    content = tomllib.loads(file.read_text())
    options = content["options"]
    assert (options["workers"], options["threads"], options["slots"]) == (1, 1, 2)
    assert content["measured"]["output-tokens-per-second"] > 0
    (shape,) = json.loads(results.read_text())["stages"]
    assert [len(result["visits"]) > 0 for result in shape["results"]] == [True, True]

    file.write_text(file.read_text().replace("slots = 2", "slots = 3"))
    server = start_server(env={"XDG_CONFIG_HOME": str(home)})
    assert [worker["slots"] for worker in server.workers()] == [3]
    assert server.stderr.splitlines()[0] == (
        f"forge serve: options measured by `forge tune`: {file}"
    )
    server.stop()


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="ps of procps")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    process = forge_tune(tmp_path, "--seconds", "80000", start_new_session=True)
    measuring = eventually(lambda: children(process.pid), "it measures")
    os.killpg(process.pid, number)  # as a terminal does
    code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert err == "forge tune: interrupted, nothing was written\n"
    assert written(tmp_path) == []
    eventually(lambda: all(map(gone, measuring)), "its processes end")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--model", "/none.gguf"), "--model: can't read /none.gguf"),
        (("--threads", "0"), "--threads: expected 'auto'"),
        (("--workers", "1", "--threads", "999"), "--workers, --threads: 1 x 999 threads are more"),
        (("--json", "/none/a.json"), "--json: can't write into /none"),
        (("--model", "{broken}"), "nothing could be measured: "),
    ],
)
def test_errors_are_one_line(options: tuple[str, str], reason: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    command = [option.format(broken=broken) for option in options]
    code, out, err = ended(forge_tune(tmp_path / "home", "--repack", *command))
    assert (code, out) == (2, "")
    assert err.startswith(f"forge tune: error: {reason}")
    assert len(err.splitlines()) == 1
    assert written(tmp_path / "home") == []
