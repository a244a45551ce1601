"""systemd's protocols on real sockets: what the manager hears, and the sockets that it brings."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.config import ConfigError
from gateway.http.listening import inherited
from gateway.system.service_manager import MOST_DESCRIPTORS, VARIABLES, ServiceManager


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's end, whose path is ``getsockname()``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


def test_what_is_told_arrives(ear: socket.socket) -> None:
    manager = ServiceManager(ear.getsockname())
    manager.status("loads\nREADY=1")
    manager.ready("serves")
    manager.stopping("ends")
    assert ear.recv(4096) == rb"STATUS=loads\nREADY=1"  # a line break in a text is no new line
    assert ear.recv(4096) == b"READY=1\nSTATUS=serves"
    assert ear.recv(4096) == b"STOPPING=1\nSTATUS=ends"


def test_a_reload_has_a_begin_with_its_time_and_an_end(ear: socket.socket) -> None:
    """A manager of Type=notify-reload takes no READY=1 from before that time for its end."""
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    ServiceManager(ear.getsockname()).reloading("reads options")
    begun, at, status = ear.recv(4096).split(b"\n")
    assert (begun, status) == (b"RELOADING=1", b"STATUS=reads options")
    assert int(at.removeprefix(b"MONOTONIC_USEC=")) >= before_us


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"forge-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(30)
        ServiceManager(f"@{name}").ready("serves")
        assert sock.recv(4096).startswith(b"READY=1")


def test_the_watchdog_hears_the_event_loop(ear: socket.socket) -> None:
    async def work() -> list[bytes]:
        alive = asyncio.create_task(ServiceManager(ear.getsockname(), 0.02).keep_alive())
        heard = [await asyncio.to_thread(ear.recv, 4096) for _ in range(3)]
        alive.cancel()
        return heard

    assert asyncio.run(work()) == [b"WATCHDOG=1"] * 3


def test_without_a_watchdog_nothing_is_said(ear: socket.socket) -> None:
    asyncio.run(asyncio.wait_for(ServiceManager(ear.getsockname()).keep_alive(), 30))
    ear.setblocking(False)
    with pytest.raises(BlockingIOError):
        ear.recv(4096)


def test_a_manager_that_is_gone_or_full_harms_nothing(
    ear: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager().ready("nobody is there")
    assert caplog.text == ""
    ServiceManager(str(tmp_path / "none")).ready("serves")
    assert "does not hear" in caplog.text
    for _ in range(3000):  # more than the socket's queue holds
        ServiceManager(ear.getsockname()).status("serves")


def test_the_variables_are_ours_alone() -> None:
    pid = str(os.getpid())
    environment = {
        "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": pid,
        "LISTEN_FDS": "2", "LISTEN_PID": pid, "LISTEN_FDNAMES": "a:b", "PATH": "/bin",
    }  # fmt: skip
    manager = ServiceManager.taken_from(environment)
    assert environment == {"PATH": "/bin"}
    assert manager.descriptors == range(3, 5)
    assert manager._watchdog_s == 3


@pytest.mark.parametrize("value", ["", "-1", "x", "1e9", "²", "9" * 30])
def test_wrong_values_are_no_more_than_none(value: str) -> None:
    pid = str(os.getpid())
    environment = dict.fromkeys(VARIABLES, value) | {"LISTEN_PID": pid, "WATCHDOG_PID": pid}
    manager = ServiceManager.taken_from(environment)
    assert len(manager.descriptors) <= MOST_DESCRIPTORS
    assert environment == {}


def test_another_process_is_meant() -> None:
    other = str(os.getpid() + 1)
    manager = ServiceManager.taken_from(
        {"LISTEN_FDS": "1", "LISTEN_PID": other, "WATCHDOG_USEC": "1", "WATCHDOG_PID": other}
    )
    assert (len(manager.descriptors), manager._watchdog_s) == (0, None)


def test_sockets_that_were_opened_before(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        copy = os.dup(opened.fileno())
        os.set_inheritable(copy, True)
        (taken,) = inherited([copy])
        assert taken.getsockname() == opened.getsockname()
        assert not os.get_inheritable(copy)
        taken.close()


def test_descriptors_that_are_something_else_are_named(tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("w") as file,
        socket.socket() as silent,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        for each in (file, silent, local, datagrams):
            copy = os.dup(each.fileno())
            with pytest.raises(ConfigError, match=rf"LISTEN_FDS: descriptor {copy} "):
                inherited([copy])
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        inherited([9999])
