"""A small load: some clients, each with some requests, and what they saw. Nothing is retried.

python examples/load.py [CLIENTS [REQUESTS_EACH]]
"""

import asyncio
import os
import sys
import time
from collections import Counter

import httpx

URL = os.environ.get("FORGE_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("FORGE_KEY", "none")
MOST = 64
"""Clients; for more there are locust and wrk, see docs/benchmarks.md."""


async def client(http: httpx.AsyncClient, requests: int, seen: Counter[int]) -> list[float]:
    """Return the seconds that each answered request took."""
    took = []
    for _ in range(requests):
        started = time.perf_counter()
        answer = await http.post("/infer", json={"query": "what is 2+2?", "max_tokens": 16})
        seen[answer.status_code] += 1  # 429 has a Retry-After
        if answer.status_code == 200:
            took.append(time.perf_counter() - started)
    return took


async def main(clients: int = 4, requests: int = 5) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    seen: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=URL, headers=headers, timeout=60) as http:
        started = time.perf_counter()
        every = await asyncio.gather(
            *(client(http, requests, seen) for _ in range(min(clients, MOST)))
        )
        seconds = time.perf_counter() - started
    took = sorted(each for some in every for each in some)
    print("answers by status:", dict(seen), f"in {seconds:.2f} s")
    if took:
        print(f"latency: {took[len(took) // 2]:.3f} s in the median, {took[-1]:.3f} s at most")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:3])))
