"""A `forge serve` of our own, on a free port of the loopback interface."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

START_S = 120
STOP_S = 30


@contextlib.contextmanager
def running(*options: str) -> Iterator[str]:
    """The address of a server with these options; it ends with the block."""
    with started(*options) as (url, _):
        yield url


@contextlib.contextmanager
def started(*options: str) -> Iterator[tuple[str, int]]:
    """The address and the process of a server with these options; it ends with the block."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FORGE_")}
    command = [sys.executable, "-m", "gateway.cli", "serve", "--port", "0", *options]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=kept)
        try:
            yield _address(process), process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"Forge is ready at "):
            return line.split()[-1].decode()
    raise RuntimeError(f"forge serve ended with exit code {process.wait()}")
