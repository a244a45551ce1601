"""The root of a server: Ollama's words for programs, the live page for browsers."""

import httpx
import pytest

from gateway.config.config import Config
from tests.support.front import blocking_front

BROWSERS = ["text/html,application/xhtml+xml,*/*;q=0.8", "TEXT/HTML"]
PROGRAMS = ["*/*", "application/json, text/plain, */*", "", "text/plain"]


def ask(client: httpx.Client, accept: str, method: str = "GET") -> httpx.Response:
    response = client.request(method, "/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["vary"] == "Accept"
    return response


@pytest.mark.parametrize("page", [True, False])
def test_programs_find_ollama(page: bool) -> None:
    with blocking_front(Config(page=page)) as client:
        for accept in PROGRAMS:
            response = ask(client, accept)
            assert response.text == "Ollama is running"
            assert response.headers["content-type"] == "text/plain; charset=utf-8"
            assert ask(client, accept, "HEAD").headers["content-length"] == "17"


def test_browsers_find_the_page() -> None:
    with blocking_front() as client:
        for accept in BROWSERS:
            response = ask(client, accept)
            assert response.text.startswith("<!doctype html>")
            assert "content-security-policy" in response.headers


def test_without_the_page_browsers_read_the_words() -> None:
    with blocking_front(Config(page=False)) as client:
        assert ask(client, BROWSERS[0]).text == "Ollama is running"
