"""HTTPS: the same API over TLS, with a certificate of the test's own authority."""

import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import trustme

from tests.conftest import Start
from tests.support.dialects import DIALECTS
from tests.support.server import ALIAS, DEADLINE_S, ForgeServer
from tests.support.wire import wire


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def trust(folder: Path) -> ssl.SSLContext:
    """Trusts the test's authority and nobody else; its files are in the folder."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(folder / "cert.pem", append=True)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def secure(folder: Path, trust: ssl.SSLContext) -> Iterator[ForgeServer]:
    with ForgeServer(
        folder / "server",
        *("--workers", "1", "--slots", "4", "--threads", "1", "--alias", ALIAS),
        *("--ssl-keyfile", str(folder / "key.pem"), "--ssl-certfile", str(folder / "cert.pem")),
        verify=trust,
    ).serving() as server:
        yield server


def test_every_dialect(secure: ForgeServer) -> None:
    with secure.client() as client:
        for dialect in DIALECTS:
            assert dialect.ask(client, max_tokens=3).usage["completion_tokens"] <= 3
        for dialect in DIALECTS:
            assert not dialect.streams or dialect.stream(client, max_tokens=3)


def test_the_official_client(secure: ForgeServer, trust: ssl.SSLContext) -> None:
    http = openai.DefaultHttpxClient(verify=trust)
    base_url = f"{secure.url}/v1"
    with openai.OpenAI(base_url=base_url, api_key="none", http_client=http) as client:
        assert [model.id for model in client.models.list()] == [ALIAS]


def test_the_certificate_is_checked(secure: ForgeServer) -> None:
    """It is the one that was given: who does not trust its authority is warned."""
    with httpx.Client(base_url=secure.url) as stranger, pytest.raises(httpx.ConnectError):
        stranger.get("/health")


def test_plain_http_gets_nothing(secure: ForgeServer) -> None:
    plain = secure.url.replace("https://", "http://")
    with pytest.raises(httpx.TransportError):
        httpx.get(plain + "/health", timeout=DEADLINE_S)


def test_rude_clients(folder: Path, trust: ssl.SSLContext, start_server: Start) -> None:
    """The limits are the same; the handshake has the headers' time."""
    server = start_server(
        *("--workers", "1", "--header-timeout", "0.5", "--max-connections", "2"),
        *("--ssl-keyfile", str(folder / "key.pem"), "--ssl-certfile", str(folder / "cert.pem")),
        verify=trust,
    )
    with wire(server) as silent:
        assert silent.closed()
    with wire(server, trust) as rude, wire(server, trust) as idle, wire(server, trust) as late:
        assert late.answer().code == "too_many_connections"
        assert rude.send(b"GET /heal").answer().code == "headers_timeout"
        assert rude.closed()
        assert idle.send(b"GET /health HTTP/1.1\r\n\r\n").answer().status == 200
    server.stop()


def test_the_banner_says_https(secure: ForgeServer, folder: Path) -> None:
    assert re.fullmatch(r"https://127\.0\.0\.1:\d+", secure.url)
    command = re.search(r"try +(curl .*)", secure.stdout)
    assert command is not None
    done = subprocess.run(
        ["bash", "-c", command[1]],
        env={**os.environ, "CURL_CA_BUNDLE": str(folder / "ca.pem")},
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert b'"response"' in done.stdout
