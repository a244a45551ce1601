"""forge serve under a service manager: readiness, life and end on a real socket; its listener."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.server import MODEL, environment

PATIENCE_S = 90.0
SERVE = (sys.executable, "-m", "gateway.cli", "serve", "--threads", "1", "--model", str(MODEL))
LISTENING = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""As systemd starts a service: the descriptor is number 3, and the process's number is known."""


def heard_until(ear: socket.socket, wanted: bytes, times: int = 1) -> list[bytes]:
    """Read the manager's socket until ``wanted`` has come; return all lines so far."""
    lines: list[bytes] = []
    while lines.count(wanted) < times:
        lines += ear.recv(4096).split(b"\n")
    return lines


def test_readiness_watchdog_end_and_activation_by_socket(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(PATIENCE_S)
        told = {"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "200000"}
        process = subprocess.Popen(
            [sys.executable, "-c", LISTENING, str(listener.fileno()), *SERVE],
            env=environment(told),
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            # The listener was there before the server: a request that comes early only waits.
            early = httpx.post(f"{url}/infer", json={"query": "what is 2+2?"}, timeout=PATIENCE_S)
            assert early.status_code == 200, early.text
            begin = heard_until(ear, b"READY=1")
            assert begin[0].startswith(b"STATUS=")
            assert b"STOPPING=1" not in begin
            assert heard_until(ear, b"WATCHDOG=1", 3)
            assert any(url.encode() in line for line in begin)
            children = httpx.get(f"{url}/workers").json()
            for worker in children:
                _knows_nothing(worker["pid"])
            process.send_signal(signal.SIGTERM)
            heard_until(ear, b"STOPPING=1")
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()
    assert process.returncode == 0, err
    assert f"Forge is ready at {url}" in out
    assert "Traceback" not in err


def _knows_nothing(pid: int) -> None:
    """Workers must not speak for the server: the variables are not in their environment."""
    path = Path(f"/proc/{pid}/environ")
    if path.exists():
        names = {line.partition(b"=")[0] for line in path.read_bytes().split(b"\0")}
        assert not names & {b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"LISTEN_FDS", b"LISTEN_PID"}
        assert b"PATH" in names


def test_a_descriptor_that_is_no_listener_ends_the_start(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", LISTENING, str(file.fileno()), *SERVE],
            env=environment(),
            pass_fds=[file.fileno()],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 2, done.stderr
    assert "LISTEN_FDS: descriptor 3" in done.stderr
