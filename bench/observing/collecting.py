"""A collector that forgets spans, in a process of its own, so that its CPU time is its own."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any


class _Forgetful(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def serve(told: Connection) -> None:
    """Serve for ever, at a port that ``told`` is told."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Forgetful)
    server.daemon_threads = True
    told.send(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def collecting() -> Iterator[str]:
    """The URL of one that ends with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()
        ours.close()
        theirs.close()
