"""Send batch, normal and urgent requests at once, more than there are slots; show their waits."""

import asyncio
import os

import httpx

URL = os.environ.get("FORGE_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("FORGE_KEY", "none")
EACH = 6
"""Requests of each class; the urgent ones are sent last."""


async def ask(client: httpx.AsyncClient, priority: str) -> tuple[str, float]:
    """Return the priority and the seconds that a request waited in the queue."""
    body = {"query": "Tell me a short story.", "priority": priority, "max_tokens": 40}
    answer = await client.post("/infer", json=body)
    answer.raise_for_status()
    return priority, float(answer.headers["X-Queue-Wait"])


async def main() -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=URL, headers=headers, timeout=120) as client:
        order = [priority for priority in ("batch", "normal", "urgent") for _ in range(EACH)]
        waits = await asyncio.gather(*(ask(client, priority) for priority in order))
    for priority in ("urgent", "normal", "batch"):
        mean = sum(wait for asked, wait in waits if asked == priority) / EACH
        print(f"{priority}: {mean:.3f} s in the queue on average")


if __name__ == "__main__":
    asyncio.run(main())
