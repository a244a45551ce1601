"""Addresses to listen on, as operators write them."""

import contextlib
import errno
import gc
import socket
import warnings
from collections.abc import Iterator

import pytest

from gateway.config.config import ConfigError, NotNow
from gateway.http import listening
from gateway.http.listening import Address, bind
from tests.support.server import needs_ipv6


@contextlib.contextmanager
def bound(host: str, port: int = 0) -> Iterator[list[tuple[str, int]]]:
    """Addresses and ports that are listened on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(sock) for sock in bind(host, port)]
        for sock in found:
            sock.listen()
        yield [sock.getsockname()[:2] for sock in found]


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_host_that_is_no_name(host: str) -> None:
    with pytest.raises(ConfigError, match="--host: can't listen on"):
        bind(host, 0)


def test_address_of_another_machine() -> None:
    # TEST-NET-1 of RFC 5737: nobody has it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the subject of the next test
        with pytest.raises(ConfigError, match=r"can't listen on 192\.0\.2\.1:0: "):
            bind("192.0.2.1", 0)
        gc.collect()


def test_failed_bind_leaves_no_socket() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ConfigError):
            bind("192.0.2.1", 0)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_bind_takes_a_free_port() -> None:
    (sock,) = bind("127.0.0.1", 0)
    with sock:
        assert sock.getsockname()[1] > 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert sock.type is socket.SOCK_STREAM


@needs_ipv6
@pytest.mark.parametrize("host", ["localhost", "LocalHost", "[localhost]"])
def test_localhost_is_both_families(host: str) -> None:
    with bound(host) as found:
        assert [name for name, _ in found] == ["127.0.0.1", "::1"]
        assert len({port for _, port in found}) == 1
        for name, port in found:
            socket.create_connection((name, port), 30).close()


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(host: str) -> None:
    with bound(host) as found:
        assert [name for name, _ in found] == ["::1"]


@needs_ipv6
@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_in_one_family(taken: str) -> None:
    """Clients of localhost would reach either server, by chance."""
    with bound(taken) as [(_, port)], pytest.raises(ConfigError, match="--port: can't listen on"):
        bind("localhost", port)


@needs_ipv6
def test_a_free_port_is_free_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that the system offers may be taken in the other family."""
    real, refused = listening._bound, [True, True, False]

    def busy_twice(family: int, address: Address) -> socket.socket:
        if family == socket.AF_INET6 and refused.pop(0):
            raise OSError(errno.EADDRINUSE, "taken")
        return real(family, address)

    monkeypatch.setattr(listening, "_bound", busy_twice)
    with warnings.catch_warnings(record=True) as caught, bound("localhost") as found:
        assert len(found) == 2
        gc.collect()
    assert refused == []
    assert caught == []


@needs_ipv6
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_a_family(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = listening._bound
    for absent in (socket.AF_INET, socket.AF_INET6):

        def one_only(family: int, address: Address, absent: int = absent) -> socket.socket:
            if family == absent:
                raise OSError(number, "none here")
            return real(family, address)

        monkeypatch.setattr(listening, "_bound", one_only)
        with bound("localhost") as found:
            assert len(found) == 1

    def neither(family: int, address: Address) -> socket.socket:
        raise OSError(number, "none here")

    monkeypatch.setattr(listening, "_bound", neither)
    with pytest.raises(ConfigError, match="can't listen on localhost:0: none here"):
        bind("localhost", 0)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("[2001:db8::1]", r"\[2001:db8::1\]:0"), ("192.0.2.1", "192.0.2.1:0"), ("[", r"\[:0")],
)
def test_errors_show_addresses_as_urls_do(host: str, shown: str) -> None:
    with pytest.raises(ConfigError, match=f"can't listen on {shown}: "):
        bind(host, 0)


@pytest.mark.parametrize(
    ("code", "passing"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)]
)
def test_a_name_that_may_be_known_later(
    monkeypatch: pytest.MonkeyPatch, code: int, passing: bool
) -> None:
    """As while a network is not up yet."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigError, match="--host: can't listen on later:80: no such") as caught:
        bind("later", 80)
    assert isinstance(caught.value, NotNow) == passing
