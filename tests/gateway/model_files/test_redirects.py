"""Redirects that a download follows, and those that it does not."""

from itertools import pairwise

import httpx2
import pytest

from gateway.model_files.download import FetchFailed, client


def got(*places: str) -> str:
    """Return the address where a chain of redirects through ``places`` ends."""
    chain = dict(pairwise(places))

    def answer(request: httpx2.Request) -> httpx2.Response:
        to = chain.get(str(request.url))
        return (
            httpx2.Response(200) if to is None else httpx2.Response(302, headers={"Location": to})
        )

    with client(httpx2.MockTransport(answer)) as http:
        return str(http.get(places[0]).url)


@pytest.mark.parametrize(
    "places",
    [
        ("https://a.example/m.gguf", "https://b.example/m.gguf", "https://c.example/m.gguf"),
        ("http://127.0.0.1/m.gguf", "http://localhost/m.gguf"),
        ("http://127.0.0.1/m.gguf", "https://a.example/m.gguf"),
    ],
)
def test_they_are_followed(places: tuple[str, ...]) -> None:
    assert got(*places) == places[-1]


@pytest.mark.parametrize(
    "places",
    [
        ("https://a.example/m.gguf", "http://169.254.169.254/latest"),
        ("https://a.example/m.gguf", "https://b.example/m.gguf", "http://127.0.0.1:9/m.gguf"),
        ("http://127.0.0.1/m.gguf", "https://a.example/m.gguf", "http://a.example/m.gguf"),
        ("https://a.example/m.gguf", "https://b.example:port/m.gguf"),
    ],
)
def test_none_leaves_https(places: tuple[str, ...]) -> None:
    with pytest.raises(FetchFailed, match="the server redirects to"):
        got(*places)
