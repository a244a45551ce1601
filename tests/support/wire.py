"""HTTP byte by byte, for clients that no library would play."""

import json
import re
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.server import DEADLINE_S, ForgeServer


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code, in the shape of any dialect."""
        value: Any = json.loads(self.body)
        return str(value["error"]["code"] if isinstance(value["error"], dict) else value["code"])


class Wire:
    """A connection to a server."""

    def __init__(self, server: ForgeServer, tls: ssl.SSLContext | None = None) -> None:
        url = httpx.URL(server.url)
        assert url.port is not None
        self.socket = socket.create_connection((url.host, url.port), DEADLINE_S)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=url.host)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = b""

    def send(self, *pieces: bytes) -> "Wire":
        """Send as much as the server takes."""
        with suppress(ConnectionError):
            for piece in pieces:
                self.socket.sendall(piece)
        return self

    def drip(self, first: bytes, again: bytes, seconds: float) -> "Wire":
        """Send ``first``, and then ``again`` every so often until the server says something."""
        self.send(first)
        self.socket.settimeout(seconds)
        while not self._got:
            self.send(again)
            with suppress(TimeoutError):
                data = self.socket.recv(65536)
                assert data, "closed without a word"
                self._got += data
        self.socket.settimeout(DEADLINE_S)
        return self

    def answer(self, *, head: bool = False) -> Answer:
        """The next response, with its body unless it answers a HEAD."""
        top, _, self._got = self.read_until(rb"\r\n\r\n").partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body, self._got = self.read_until(rb"\r\n0\r\n\r\n").split(b"\r\n0\r\n\r\n", 1)
        else:
            length = 0 if head else int(headers.get("content-length", "0"))
            data = self.read_until(rb"(?s:.{%d})" % length)
            body, self._got = data[:length], data[length:]
        return Answer(int(first.split()[1]), headers, body)

    def read_until(self, pattern: bytes) -> bytes:
        """Return what is here and in no answer yet, as soon as the pattern is found in it."""
        while re.search(pattern, self._got) is None:
            data = self.socket.recv(65536)
            assert data, f"closed after {self._got!r}"
            self._got += data
        return self._got

    def closed(self) -> bool:
        """Wait for the end; whether nothing came before it."""
        with suppress(ConnectionResetError):
            return not self._got and not self.socket.recv(65536)
        return True

    def close(self) -> None:
        self.socket.close()


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side is told at once that nothing reads from it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def wire(server: ForgeServer, tls: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """A connection for a while; ``tls``: whom to trust."""
    connection = Wire(server, tls)
    try:
        yield connection
    finally:
        connection.close()
