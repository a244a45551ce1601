"""forge serve under a service manager: readiness, life and end on a real socket; its listener."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from tests.support.server import MODEL, environment, eventually

PATIENCE_S = 90.0
SERVE = (sys.executable, "-m", "gateway.cli", "serve", "--threads", "1", "--model", str(MODEL))
LISTENING = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Start like systemd: the descriptor is number 3, and the process's number is known."""


class Ear:
    """Reads what a service manager hears, from the beginning on: its queue is short."""

    def __init__(self, path: Path) -> None:
        self.lines: list[bytes] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while datagram := self._sock.recv(4096):
            self.lines += datagram.split(b"\n")

    def wait(self, line: bytes, times: int = 1) -> None:
        eventually(lambda: self.lines.count(line) >= times, f"{line!r} is heard")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()


def test_readiness_watchdog_end_and_activation_by_socket(tmp_path: Path) -> None:
    with (
        contextlib.closing(Ear(tmp_path / "notify")) as ear,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
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
            ear.wait(b"READY=1")
            assert ear.lines[0].startswith(b"STATUS=")
            assert b"STOPPING=1" not in ear.lines
            ear.wait(b"WATCHDOG=1", ear.lines.count(b"WATCHDOG=1") + 3)
            assert any(url.encode() in line for line in ear.lines)
            children = httpx.get(f"{url}/workers").json()
            for worker in children:
                _knows_nothing(worker["pid"])
            process.send_signal(signal.SIGTERM)
            ear.wait(b"STOPPING=1")
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
