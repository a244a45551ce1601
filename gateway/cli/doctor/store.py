"""The place for files and batches, looked at without a change to it."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from gateway.cli.doctor.finding import Finding, error, ok, warning
from gateway.config.config import Config
from gateway.core.byte_sizes import readable

LITTLE = 1 << 30
"""Bytes that are worth a warning if no more are free."""


def place(config: Config) -> Iterator[Finding]:
    """Look at --data-dir or --database, if one is set."""
    if config.database is not None:
        if find_spec("asyncpg") is None:
            advice = "pip install 'forge-inference-gateway[postgres]'"
            yield error("store", "--database: the driver asyncpg is missing", advice)
        else:
            yield ok("store", "PostgreSQL, which forge serve asks at its start")
    elif config.data_dir is not None:
        yield _folder(config.data_dir)


def _folder(path: Path) -> Finding:
    advice = "another --data-dir, or chown it to this user"
    try:
        with contextlib.suppress(OSError):
            path.stat()  # that nothing is there is right
        there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        usable = there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK)
        free = shutil.disk_usage(there).free
    except (OSError, ValueError) as failure:  # ValueError: a NUL in the path
        return error("store", f"--data-dir: {failure}", advice)
    if not usable:
        return error("store", f"--data-dir: {there} is no folder that can be written", advice)
    room = f"--data-dir: {path}, {readable(free)} are free"
    if free < LITTLE:
        return warning("store", room, "free some: a full disk refuses files and fails batches")
    return ok("store", room)
