"""Servers that wait: one connection after another, or a thread for each."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from .http import HEAD_END, Work, parse, respond

BACKLOG = 4096
Serve = Callable[[socket.socket], None]
"""Deals with one connection, from its first byte to its last."""


def conversation(path: str, work: Work, *, keep: bool) -> Serve:
    """Answer request after request; not ``keep``: only one, and hang up."""

    def serve(connection: socket.socket) -> None:
        # Who hangs up in the middle, or sends what is no HTTP, gets no answer.
        with (
            connection,
            connection.makefile("rb") as stream,
            contextlib.suppress(OSError, ValueError),
        ):
            while True:
                head = b""
                while not head.endswith(HEAD_END):
                    line = stream.readline(65536)
                    if not line:
                        return
                    head += line
                request = parse(head)
                body = stream.read(request.length)
                goes_on = keep and request.keep
                connection.sendall(respond(request, body, path, work, keep=goes_on))
                if not goes_on:
                    return

    return serve


def study_way(path: str, work: Work) -> Serve:
    """One read of 1,024 bytes is the request, the end of the connection that of the answer."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError, IndexError):
            connection.sendall(study_answer(connection.recv(1024), path, work))

    return serve


def study_answer(data: bytes, path: str, work: Work) -> bytes:
    """Raises ValueError or IndexError if the request did not come in one piece."""
    text = data.decode()
    if not text.startswith(f"POST {path}"):
        return b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\nnothing here"
    body = work(text.split("\r\n\r\n")[1].encode())
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body


def one_by_one(listener: socket.socket, serve: Serve) -> None:
    """Sequential: the others wait until it is their turn."""
    listener.listen(BACKLOG)
    while True:
        serve(listener.accept()[0])


def thread_each(listener: socket.socket, serve: Serve) -> None:
    """A thread for each connection, as long as that lives."""
    listener.listen(BACKLOG)
    while True:
        connection = listener.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=serve, args=(connection,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads to give
            connection.close()
