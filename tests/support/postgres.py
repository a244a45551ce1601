"""A real PostgreSQL of the tests' own, in a folder of its own, on a socket alone."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import eventually

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
"""Debian has its commands there, and not in PATH."""


def command(name: str) -> str | None:
    """Return the path of one of its commands; None if it is not installed."""
    places = [str(each) for each in FOLDERS]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *places]))


needs_postgres = pytest.mark.skipif(
    command("initdb") is None, reason="PostgreSQL is not installed (Debian: postgresql)"
)


class PostgresServer:
    """One server; each :meth:`database` is empty."""

    def __init__(self) -> None:
        # A socket's path is short, and pytest's folders are not.
        self.folder = Path(tempfile.mkdtemp(prefix="forge-pg-"))
        self._data = self.folder / "data"
        self._databases = 0
        self._user = _other_user()
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-A", "trust", "-U", "forge", "--no-sync", "-D", str(self._data))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        path = command("postgres")
        assert path is not None, "initdb is there"
        # The machine goes on when a process is killed, and has all that was written.
        settings = ["-c", "listen_addresses=", "-c", "fsync=off"]
        options = ["-D", str(self._data), "-k", str(self.folder), *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [path, *options], stdout=log, stderr=log, **self._as_user()
            )
        eventually(self._answers, "PostgreSQL is ready")

    def kill(self) -> None:
        """End it as a power failure would; it recovers at the next start."""
        assert self._process is not None, "it runs"
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def stop(self) -> None:
        """End it, and delete all."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """Return the URL of a new database."""
        self._databases += 1
        name = f"forge{self._databases}"
        self._psql("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://forge@/{name}?host={self.folder}"

    def query(self, url: str, sql: str) -> str:
        """Return what psql says."""
        name = url.rpartition("?")[0].rpartition("/")[2]
        return self._psql(name, sql)

    def _psql(self, name: str, sql: str) -> str:
        return self._run("psql", "-h", str(self.folder), "-U", "forge", "-d", name, "-Atc", sql)

    def _answers(self) -> bool:
        path = command("pg_isready")
        assert path is not None, "initdb is there"
        done = subprocess.run([path, "-q", "-h", str(self.folder), "-U", "forge"], check=False)
        return done.returncode == 0

    def _run(self, name: str, *arguments: str) -> str:
        path = command(name)
        assert path is not None, f"{name} is installed"
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, check=False, **self._as_user()
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout).strip()

    def _as_user(self) -> dict[str, Any]:
        extra: Sequence[int] = ()
        options = {"user": self._user, "group": "nogroup", "extra_groups": extra}
        return {"cwd": self.folder, **(options if self._user else {})}


def _other_user() -> str | None:
    """Return a user to run it as, since it refuses to be root; None: the present one."""
    if os.geteuid() != 0:
        return None
    known = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
