"""A prompt whose sequence has ended comes back from host memory: clients see it cached."""

from tests.conftest import Start
from tests.support.server import eventually

PROMPT = "Once upon a time there was a little girl. " * 23
"""About 300 tokens: two such prompts do not fit in 512 cells."""


def test_an_evicted_prompt_is_cached(start_server: Start) -> None:
    options = ("--workers", "1", "--slots", "2", "--ctx", "512", "--cache-ram", "16")
    server = start_server(*options)
    with server.client() as http:

        def cached(prompt: str) -> int:
            body = {"prompt": prompt, "max_tokens": 2}
            usage = http.post("/v1/completions", json=body).json()["usage"]
            return int(usage["prompt_tokens_details"]["cached_tokens"])

        assert cached(PROMPT) == 0
        assert cached(f"The king. {PROMPT}") <= 1, "what every prompt begins with"
        back = cached(PROMPT)
        assert back >= 256
        eventually(lambda: server.workers()[0]["restored_tokens"] == back)
        assert 0 < server.workers()[0]["host_bytes"] <= 16 * 1024 * 1024
        text = http.get("/metrics", headers={"Accept": "text/plain"}).text
        assert f"forge_host_cache_restored_tokens {float(back)}" in text
