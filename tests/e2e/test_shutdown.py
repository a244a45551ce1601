"""The end: signals, draining, and what is left behind (nothing)."""

import os
import shutil
import signal
import socket
import subprocess

import httpx
import openai
import pytest

from tests.conftest import Start
from tests.support.dialects import CHAT, DIALECTS
from tests.support.server import DEADLINE_S, ForgeServer, eventually, free_port, freeze, gone
from tests.support.traffic import ENDLESS, Streaming

SHAPE = ("--workers", "1", "--slots", "2")
TOKENS = 1000


def unhealthy(server: ForgeServer) -> bool:
    return httpx.get(server.url + "/health", timeout=DEADLINE_S).status_code == 503


def refused(server: ForgeServer) -> bool:
    try:
        httpx.get(server.url + "/health", timeout=DEADLINE_S)
    except httpx.ConnectError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_lets_streams_finish(start_server: Start, number: signal.Signals) -> None:
    server = start_server(*SHAPE)
    pids = server.pids()
    stream = Streaming(server, "count", **ENDLESS, max_tokens=TOKENS).wait_for(1)
    server.signal(number)
    eventually(lambda: unhealthy(server), "/health says so")
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        for dialect in DIALECTS:
            response = client.post(dialect.path, json=dialect.body())
            failure = dialect.refusal(response)
            assert (failure.status, failure.code) == (503, "unavailable")
            assert int(response.headers["retry-after"]) > 0
        assert client.get("/health").headers["retry-after"]
        assert client.get("/workers").json()[0]["state"] == "draining"
    # All of the above really happened while the stream ran.
    assert not stream.done
    whole = stream.finish()
    assert whole
    assert stream.done
    assert stream.error is stream.broken is None
    server.expect_end(pids)
    assert refused(server)


def test_queued_jobs_are_served_too(start_server: Start) -> None:
    """A request that was accepted before the signal is not dropped."""
    server = start_server("--workers", "1", "--slots", "1")
    pids = server.pids()
    first = Streaming(server, "count", **ENDLESS, max_tokens=300).wait_for(1)
    others = [Streaming(server, "hello", **ENDLESS, max_tokens=10) for _ in range(5)]
    eventually(lambda: len(server.waiting()) == 5)
    server.signal(signal.SIGTERM)
    for stream in (first, *others):
        assert stream.finish()
        assert stream.done
    server.expect_end(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(start_server: Start, number: signal.Signals) -> None:
    server = start_server(*SHAPE)
    pids = server.pids()
    stream = Streaming(server, "count", **ENDLESS).wait_for(1)
    server.signal(signal.SIGTERM)
    eventually(lambda: unhealthy(server))
    server.signal(number)
    server.expect_end(pids, quiet=False)
    stream.finish()
    assert not stream.done


def test_a_second_signal_is_no_error(start_server: Start) -> None:
    server = start_server(*SHAPE)
    pids = server.pids()
    Streaming(server, "count", **ENDLESS).wait_for(1)
    server.signal(signal.SIGTERM)
    eventually(lambda: unhealthy(server))
    server.signal(signal.SIGTERM)
    server.expect_end(pids)


def test_an_idle_server_ends_at_once(start_server: Start) -> None:
    """Even with a client that keeps its connection open."""
    server = start_server(*SHAPE)
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as client:
        assert client.get("/health").status_code == 200
        server.stop()


def test_a_drain_has_a_limit(start_server: Start) -> None:
    """A request that isn't done by then is told: by an error event in a stream, else a 503."""
    server = start_server("--workers", "1", "--slots", "1", "--drain-timeout", "0.2")
    pids = server.pids()
    base_url = f"{server.url}/v1"
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="forge-tiny",
            messages=[{"role": "user", "content": "count"}],
            stream=True,
            extra_body=ENDLESS,
        )
        next(stream)
        queued = Streaming(server, "hello", **ENDLESS)
        eventually(lambda: len(server.waiting()) == 1)
        server.signal(signal.SIGTERM)
        with pytest.raises(openai.APIError, match="shutting down"):
            for _ in stream:
                pass
        stream.close()
    queued.finish()
    assert queued.status == 503
    server.expect_end(pids)


def test_workers_die_with_the_gateway(start_server: Start) -> None:
    server = start_server("--workers", "2", "--slots", "1")
    pids = server.pids()
    streams = [Streaming(server, "count", **ENDLESS).wait_for(1) for _ in range(2)]
    server.signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    eventually(lambda: all(gone(pid) for pid in pids), f"the workers {pids} end")
    for stream in streams:
        stream.finish()
        assert stream.broken is not None


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``: workers, their renderers, Python's resource tracker."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    children: dict[int, list[int]] = {}
    for line in listed.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    below = children.get(pid, [])
    return [*below, *(grandchild for child in below for grandchild in descendants(child))]


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_orphans_even_if_all_are_stopped(start_server: Start, number: signal.Signals) -> None:
    """A stopped process hears nothing: the kernel, or the gateway, must end it."""
    server = start_server("--workers", "2", "--slots", "1")
    family = descendants(server.process.pid)
    assert len(family) >= 4, "two workers, each with a renderer"
    freeze(*family)
    server.signal(number)
    server.wait()
    tracker = [pid for pid in family if not gone(pid) and "resource_tracker" in command(pid)]
    for pid in tracker:  # Python's own; it ends by itself, if it can
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: all(map(gone, family)), f"all of {family} end")


def command(pid: int) -> str:
    asked = ["ps", "-o", "args=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_group(start_server: Start, number: signal.Signals) -> None:
    """Ctrl-C reaches the workers as well, systemd tells all; the drain is the gateway's."""
    server = start_server(*SHAPE)
    pids = server.pids()
    stream = Streaming(server, "count", **ENDLESS, max_tokens=TOKENS).wait_for(1)
    for pid in (server.process.pid, *pids):
        os.kill(pid, number)
    assert stream.finish()
    assert stream.done
    server.expect_end(pids)


def test_a_connection_that_sends_nothing_does_not_delay_the_end(start_server: Start) -> None:
    server = start_server(*SHAPE)
    address = httpx.URL(server.url)
    assert address.port is not None
    with socket.create_connection((address.host, address.port)) as idle:
        idle.sendall(f"POST {CHAT.path} HTTP/1.1\r\nHost: x\r\n".encode())
        server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_loading(start_server: Start, number: signal.Signals) -> None:
    server = loading(start_server)
    pids = server.pids()
    server.signal(number)
    server.expect_end(pids)


def test_a_signal_while_loading_and_asked(start_server: Start) -> None:
    """Accepted before the signal: served after the load, and only then the end."""
    server = loading(start_server)
    pids = server.pids()
    stream = Streaming(server, "hello", max_tokens=3)
    eventually(lambda: len(server.waiting()) == 1)
    server.signal(signal.SIGTERM)
    stream.finish()
    assert stream.done
    server.expect_end(pids)


def test_a_worker_dies_while_loading(start_server: Start) -> None:
    """Trying again would only hide why; the command says it and ends."""
    server = loading(start_server)
    (pid,) = server.pids()
    os.kill(pid, signal.SIGKILL)
    assert server.wait() == 1
    assert server.stderr.splitlines()[-1].startswith("forge serve: error: ")
    assert "Traceback" not in server.stderr


def loading(start_server: Start) -> ForgeServer:
    """A server whose listener is up while its worker still loads."""
    server = start_server(*SHAPE, port=free_port(), ready=False)
    eventually(lambda: not refused(server) and server.pids(), "the listener is up")
    assert unhealthy(server)
    return server
