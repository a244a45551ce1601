"""Servers that tests share, by their options: to start one takes seconds, to ask for it nothing."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from tests.support.server import ALIAS, MODEL, ForgeServer

KEPT = 4
"""Servers that go on running for later tests; a file of tests uses fewer."""


class SharedServers:
    """Start a server for each set of options that a test asks for, and keep the latest few.

    Tests may kill workers of such a server, and must leave it idle. It has to end well, whatever
    they did to it.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        """``folder`` makes a new one, for the output of one server."""
        self._folder = folder
        self._kept: OrderedDict[tuple[object, ...], ForgeServer] = OrderedDict()

    def __call__(self, *options: str, model: Path = MODEL, key: str | None = None) -> ForgeServer:
        """Return a server with these options after one thread a worker and the usual alias."""
        wanted = (options, model, key)
        if wanted not in self._kept:
            while len(self._kept) >= KEPT:
                self._stop(next(iter(self._kept)))
            options = ("--threads", "1", "--alias", ALIAS, *options)
            self._kept[wanted] = ForgeServer(self._folder(), *options, model=model, key=key)
            self._kept[wanted].wait_ready()
        self._kept.move_to_end(wanted)
        return self._kept[wanted]

    def stop(self) -> None:
        """Stop all of them. Fails if one of them does not end well."""
        while self._kept:
            self._stop(next(iter(self._kept)))

    def kill(self) -> None:
        """Make sure that none is left."""
        for server in self._kept.values():
            server.kill()

    def _stop(self, wanted: tuple[object, ...]) -> None:
        server = self._kept.pop(wanted)
        try:
            server.stop()
        finally:
            server.kill()
