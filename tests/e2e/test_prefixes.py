"""A prompt whose sequence has ended comes back from host memory: clients see it cached."""

import httpx

from tests.conftest import Start
from tests.support.server import eventually

PROMPT = "Once upon a time there was a little girl. " * 23
"""About 300 tokens: more than half of 512 cells."""


def cached(http: httpx.Client, prompt: str) -> int:
    """Have a prompt completed; return how many of its tokens were not computed."""
    body = {"prompt": prompt, "max_tokens": 2}
    usage = http.post("/v1/completions", json=body).json()["usage"]
    return int(usage["prompt_tokens_details"]["cached_tokens"])


def test_a_prompt_that_was_there_before_is_cached(start_server: Start) -> None:
    options = ("--workers", "1", "--slots", "2", "--ctx", "512", "--cache-ram", "16")
    server = start_server(*options)
    with server.client() as http:
        assert cached(http, PROMPT) == 0
        assert cached(http, f"The king. {PROMPT}") <= 1, "what every prompt begins with"
        back = cached(http, PROMPT)
        assert back >= 256
        eventually(lambda: server.workers()[0]["restored_tokens"] == back)
        assert server.workers()[0]["cells_used"] == 0, "no cells are kept for it"
        assert 0 < server.workers()[0]["host_bytes"] <= 16 * 1024 * 1024
        text = http.get("/metrics", headers={"Accept": "text/plain"}).text
        assert f"forge_host_cache_restored_tokens {float(back)}" in text


def test_without_cache_ram_nothing_is_kept(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "2", "--ctx", "512", "--cache-ram", "0")
    with server.client() as http:
        assert [cached(http, PROMPT) for _ in range(2)] == [0, 0]
        (worker,) = server.workers()
        assert worker["host_bytes"] == worker["restored_tokens"] == 0
