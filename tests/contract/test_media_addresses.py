"""Addresses of pictures in requests: fetched from hosts that the operator names, over real TLS."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
import trustme

from gateway.config.config import Config
from gateway.media.fetching import FetchTerms
from tests.support.front import blocking_front
from tests.support.seeing import RED, SeeingPool, shown
from tests.support.server import ALIAS

NAME = "pictures.example"
HOME = "127.0.0.1"


class Pictures(BaseHTTPRequestHandler):
    """Has a picture, and sends other requests elsewhere."""

    def do_GET(self) -> None:
        found = self.path == "/red.png"
        self.send_response(200 if found else 302)
        if not found:
            self.send_header("Location", "https://127.0.0.1/")
        self.send_header("Content-Length", str(len(RED) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(RED)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pool() -> SeeingPool:
    return SeeingPool()


@contextlib.contextmanager
def host(authority: trustme.CA) -> Iterator[int]:
    """Serve on a port of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    with HTTPServer((HOME, 0), Pictures) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def address(pool: SeeingPool) -> Iterator[tuple[httpx.Client, int]]:
    """A gateway that may fetch from the host, and the host's port."""
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)

    async def resolve(name: str, port: int) -> list[str]:
        return [HOME]

    terms = FetchTerms(lambda address: address == HOME, trusted, resolve)
    with host(authority) as port:
        config = Config(alias=ALIAS, media_hosts=f"{NAME}:{port}")
        with blocking_front(config, answers=True, pool=pool, fetch_terms=terms) as client:
            yield client, port


Made = Callable[[str], dict[str, Any]]
BODIES: list[tuple[str, Made]] = [
    (
        "/v1/chat/completions",
        lambda url: {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": url}}]}]},
    ),
    (
        "/v1/responses",
        lambda url: {"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": url}]}]},
    ),
    (
        "/v1/messages",
        lambda url: {"max_tokens": 4, "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": url}}]}]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), BODIES, ids=[path for path, _ in BODIES])
def test_a_picture_is_fetched(
    address: tuple[httpx.Client, int], pool: SeeingPool, path: str, body: Made
) -> None:
    client, port = address
    answer = client.post(path, json=body(f"https://{NAME}:{port}/red.png"))
    assert answer.status_code == 200, answer.text
    assert shown(pool.chat()) == [[RED]]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://{NAME}:{port}/other", "redirects are not followed"),
        ("https://{NAME}/red.png", "--media-hosts"),
        ("https://localhost:{port}/red.png", "--media-hosts"),
        ("http://{NAME}:{port}/red.png", "https alone"),
    ],
)
def test_others_are_not(address: tuple[httpx.Client, int], url: str, reason: str) -> None:
    client, port = address
    path, body = BODIES[0]
    answer = client.post(path, json=body(url.format(NAME=NAME, port=port)))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_media")
    assert reason in error["message"]
    assert error["param"] == "messages.0.content.0.image_url.url"
