"""The real command as a subprocess, for tests that want everything to be real."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from gateway.config.config import EMBEDDED_MODEL

MODEL = Path(os.environ.get("FORGE_TEST_MODEL", EMBEDDED_MODEL))
"""The model that is served by default; the variable is for work on a new model."""
ALIAS = "forge-tiny"
DEADLINE_S = 90.0
"""Ends a wait for something that will not come; no test depends on how long a thing takes."""

T = TypeVar("T")


def eventually(check: Callable[[], T], what: str = "", deadline: float = DEADLINE_S) -> T:
    """Poll until ``check`` gives something true, and return that.

    What takes long is asked for less often: to ask costs the server as much as to serve.
    """
    begin = time.monotonic()
    while (waited := time.monotonic() - begin) < deadline:
        if value := check():
            return value
        time.sleep(min(max(0.01, waited / 10), 0.05))
    raise AssertionError(f"did not happen in {deadline:.0f} s: {what or check}")


def gone(pid: int) -> bool:
    """Return whether a process has ended. A zombie counts: a container may reap no orphans."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        # The state is the field after the command, which is in parentheses.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # another platform, or it ended just now
        return False


def still(pid: int) -> bool:
    """Return whether every thread of a process is stopped (or, without /proc, may well be)."""
    try:
        states = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread ended just now
        return False
    return all(state.rpartition(")")[2].split()[0] in "TtZX" for state in states)


def freeze(*pids: int) -> None:
    """Stop processes, and wait until they stand still.

    The signal alone is a request: one thread has to run to take it, and until then the others go
    on, on a busy machine for long enough to answer something.
    """
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        eventually(lambda pid=pid: still(pid) or gone(pid), f"process {pid} stands still")  # type: ignore[misc]


def free_port() -> int:
    """A port that is free now, for tests that must know it before the server is ready."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings for Forge, plus ``extra``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FORGE_")}
    return {**kept, **(extra or {})}


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")


class ForgeServer:
    """One ``forge serve``. The constructor starts it and does not wait."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        model: Path | None = MODEL,
        port: int = 0,
        env: Mapping[str, str] | None = None,
        key: str | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        """Logs go into ``directory``; ``model`` None leaves the choice to ``options``.

        ``key`` and ``verify`` are for its clients: an API key, and whose certificates to trust.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._logs = directory / "stdout", directory / "stderr"
        command = [sys.executable, "-m", "gateway.cli", "serve", "--port", str(port)]
        command += ["--log-level", "info", *options]
        if model is not None:
            command += ["--model", str(model)]
        with self._logs[0].open("wb") as out, self._logs[1].open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment(env)
            )
        self._key, self._verify = key, verify
        self.url = f"http://127.0.0.1:{port}"
        """The address; with port 0 it is known only after :meth:`wait_ready`."""

    @property
    def stdout(self) -> str:
        return self._logs[0].read_text("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._logs[1].read_text("utf-8", "replace")

    def wait_ready(self) -> "ForgeServer":
        """Wait until all workers can serve."""
        eventually(self._announced, "the server announces itself")
        eventually(lambda: all(w["state"] == "ready" for w in self.workers()), "workers ready")
        return self

    def _announced(self) -> bool:
        for line in self.stdout.splitlines():
            if line.startswith("Forge is ready at "):
                self.url = line.split()[-1]
                return True
        if self.process.poll() is not None:
            raise AssertionError(f"exit code {self.process.returncode}:\n{self.stderr}")
        return False

    def client(self, **headers: str) -> httpx.Client:
        """A client with the server's key, unless ``headers`` say something else."""
        known = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        return httpx.Client(
            base_url=self.url,
            timeout=DEADLINE_S,
            verify=self._verify,
            headers={**known, **headers},
        )

    # What it says of itself.

    def get(self, path: str) -> Any:
        """The JSON at ``path``."""
        with self.client() as client:
            response = client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def workers(self) -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = self.get("/workers")
        return workers

    def pids(self) -> list[int]:
        """The workers' processes."""
        return [worker["pid"] for worker in self.workers() if worker["pid"] is not None]

    def busy(self) -> int:
        """Slots in use."""
        return sum(worker["busy"] for worker in self.workers())

    def decoded(self) -> int:
        """Tokens sampled so far, as the workers count them."""
        return sum(worker["decode_tokens"] for worker in self.workers())

    def waiting(self) -> list[dict[str, Any]]:
        """Return what /queue lists."""
        waiting: list[dict[str, Any]] = self.get("/queue")["waiting"]
        return waiting

    # The end.

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(DEADLINE_S)

    def stop(self) -> None:
        """SIGTERM must end it with 0, leave no worker behind, and no traceback in its log."""
        pids = self.pids()
        self.signal(signal.SIGTERM)
        self.expect_end(pids)

    def expect_end(self, pids: list[int], *, quiet: bool = True) -> None:
        """A clean end is under way: exit code 0, the workers ``pids`` end too, no traceback."""
        assert self.wait() == 0, self.stderr
        eventually(lambda: all(gone(pid) for pid in pids), f"workers {pids} end")
        assert "INVARIANT" not in self.stderr, self.stderr
        assert not quiet or "Traceback" not in self.stderr, self.stderr

    @contextlib.contextmanager
    def serving(self) -> Iterator["ForgeServer"]:
        """Wait until it can serve, and see that it ends well after the block."""
        try:
            yield self.wait_ready()
            self.stop()
        finally:
            self.kill()

    def kill(self) -> None:
        """Make sure that it is gone, for teardown: in order, but at once."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGINT)  # the second signal: what runs is given up
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
