"""The sockets that a server listens on."""

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterable

from gateway.config.config import ConfigError, NotNow
from gateway.core.loopback import NAME

SEND_BUFFER = 1 << 16
"""Bytes that the kernel keeps of each response. Left to itself it would grow to megabytes before a
client that does not read is noticed."""
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""The addresses of localhost: clients try the one or the other first, a few only one."""
TRIES = 16
"""Ports that are tried for one that is free in both families."""
Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
"""Address of the socket module."""
_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""Errors of a machine without such a family."""
_PASSING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, socket.EAI_AGAIN)
"""Errors that may pass: another process has the port, or the network is not up yet."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to the address: two for localhost, where the machine has both.

    An IPv6 address may stand in brackets, as in URLs. Raises :class:`ConfigError` if the address
    can't be had, :class:`NotNow` if it may be later.
    """
    name = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    try:
        if name.lower() == NAME:
            return _bind_localhost(port)
        infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = infos[0]
        return [_bound(family, address)]
    except (OSError, UnicodeError) as error:  # UnicodeError: no host name by IDNA's rules
        option = "--host" if isinstance(error, socket.gaierror | UnicodeError) else "--port"
        reason = getattr(error, "strerror", None) or error
        kind = NotNow if getattr(error, "errno", None) in _PASSING else ConfigError
        raise kind(f"{option}: can't listen on {_shown(name)}:{port}: {reason}") from error


def inherited(descriptors: Iterable[int]) -> list[socket.socket]:
    """Return the sockets that a service manager has opened and listens on for the server.

    No child gets them. Raises :class:`ConfigError` for a descriptor that is something else.
    """
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(_listener(each)) for each in descriptors]
        stack.pop_all()
    return found


def _listener(descriptor: int) -> socket.socket:
    """Return a descriptor's socket. Raises :class:`ConfigError` unless TCP connects to it."""
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        reason = f"descriptor {descriptor} is no socket ({error.strerror})"
        raise ConfigError(f"LISTEN_FDS: {reason}") from error
    of_internet = sock.family in (socket.AF_INET, socket.AF_INET6)
    stream = of_internet and sock.type == socket.SOCK_STREAM
    if not stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise ConfigError(f"LISTEN_FDS: descriptor {descriptor} does not listen on TCP")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return sock


def _bind_localhost(port: int) -> list[socket.socket]:
    """Bind to all that localhost is; port 0: to one that is free there. Raises OSError."""
    for _ in range(TRIES - 1):
        try:
            return _bind_all(port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
    return _bind_all(port)


def _bind_all(port: int) -> list[socket.socket]:
    found: list[socket.socket] = []
    absent = OSError(errno.EADDRNOTAVAIL, "this machine has no loopback address")
    with contextlib.ExitStack() as stack:
        for family, address in LOOPBACK:
            try:
                sock = _bound(family, (address, port))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            found.append(stack.enter_context(sock))
            port = sock.getsockname()[1]
        if not found:
            raise absent
        stack.pop_all()
    return found


def _bound(family: int, address: Address) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _shown(name: str) -> str:
    """Return a host as URLs have it."""
    try:
        return f"[{name}]" if ipaddress.ip_address(name).version == 6 else name
    except ValueError:
        return name
