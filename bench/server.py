"""A `forge serve` of our own, on a free port of the loopback interface."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from bench.processes import Process, with_variable

STOP_S = 30
SERVE = ("gateway.cli", "serve", "--port", "0")


def environment_of(tree: Path | None) -> dict[str, str]:
    """An environment in which Python takes Forge from another checkout, if one is given.

    The process must be started in that folder, too.
    """
    return dict(os.environ) if tree is None else {**os.environ, "PYTHONPATH": str(tree.absolute())}


class Server:
    """One `forge serve`. It is ready when the constructor returns."""

    def __init__(
        self,
        *options: str,
        log: Path,
        command: Sequence[str] = SERVE,
        tree: Path | None = None,
        measures: bool = False,
    ) -> None:
        """``log`` is where its stderr goes. Raises RuntimeError if it does not get ready.

        ``command``: another module that serves, and says so in the same words. ``tree``: another
        checkout. ``measures``: it finds out by itself, as for a newcomer, how the model is fastest.
        """
        inherited = environment_of(tree)
        kept = {key: value for key, value in inherited.items() if not key.startswith("FORGE_")}
        self._mark = f"BENCH_FAMILY={secrets.token_hex(8)}"
        # What is measured shall not depend on what was measured before.
        if measures:
            kept["XDG_CONFIG_HOME"] = str(log.parent.absolute())
        else:
            kept["FORGE_TUNED"] = "off"
        kept["BENCH_FAMILY"] = self._mark.partition("=")[2]
        arguments = [sys.executable, "-m", *command, *options]
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=kept,
                cwd=tree,
            )
        try:
            self.url = self._address()
        except BaseException:  # an interrupt, too, must leave no server behind
            self.stop()
            raise

    def _address(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b" is ready at " in line:
                return line.split()[-1].decode()
        raise RuntimeError(f"forge serve ended with {self._process.wait()}:\n{self.log}")

    @property
    def pid(self) -> int:
        """The gateway's process."""
        return self._process.pid

    def family(self) -> list[Process]:
        """The gateway and everything it started, also what lost its parent (not zombies)."""
        return with_variable(self._mark)

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def get(self, path: str) -> Any:
        """The JSON at ``path``, whatever the status."""
        return httpx.get(self.url + path, timeout=STOP_S).json()

    def workers(self) -> list[dict[str, Any]]:
        """Return what /workers shows."""
        found: list[dict[str, Any]] = self.get("/workers")
        return found

    def wait_ready(self, deadline_s: float = 120) -> None:
        """Wait for all workers to be ready; the banner comes with one. Raises TimeoutError."""
        end = time.monotonic() + deadline_s
        while not all(worker["state"] == "ready" for worker in self.workers()):
            if time.monotonic() > end:
                raise TimeoutError(f"no worker ready in {deadline_s:.0f} s:\n{self.log}")
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if that does not help; the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()


@contextlib.contextmanager
def running(*options: str, command: Sequence[str] = SERVE) -> Iterator[Server]:
    """A server with these options; it ends with the block."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _ended(Server(*options, log=Path(folder) / "stderr", command=command)) as server,
    ):
        yield server


@contextlib.contextmanager
def running_from(tree: Path | None, *options: str, measures: bool = False) -> Iterator[Server]:
    """The same of another checkout of Forge, if one is given."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        with _ended(Server(*options, log=log, tree=tree, measures=measures)) as server:
            yield server


@contextlib.contextmanager
def _ended(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.stop()
