"""Owners take turns on a real server: a flood of one key does not bury a request of another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.dialects import INFER
from tests.support.server import DEADLINE_S, ForgeServer, eventually

FLOOD, OTHER = "sk-flood-1", "sk-other-2"
KEYS = f"""
[[key]]
name = "flood"
key = "{FLOOD}"

[[key]]
name = "other"
key = "{OTHER}"
"""
JOBS = 60


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """One worker with one slot, and two keys."""
    directory = tmp_path_factory.mktemp("shared")
    file = directory / "keys.toml"
    file.write_text(KEYS)
    file.chmod(0o600)
    shape = ("--workers", "1", "--slots", "1", "--threads", "1", "--api-key-file", str(file))
    with ForgeServer(directory, *shape, key=FLOOD).serving() as server:
        yield server


async def ask(client: httpx.AsyncClient, secret: str, **params: Any) -> dict[str, Any]:
    body = INFER.body("hello", ignore_eos=True, **params)
    headers = {"Authorization": f"Bearer {secret}"}
    response = await client.post(INFER.path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def look(client: httpx.AsyncClient) -> dict[str, Any]:
    """The queue."""
    response = await client.get("/queue", headers={"Authorization": f"Bearer {FLOOD}"})
    queue: dict[str, Any] = response.json()
    return queue


def test_a_flood_does_not_bury_a_single_request(shared: ForgeServer) -> None:
    """It comes last and is served second."""

    async def main() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=shared.url, limits=limits, timeout=DEADLINE_S
        ) as client:
            # The first one holds the slot until all others are there.
            holder = asyncio.create_task(ask(client, FLOOD, max_tokens=1800))
            await asyncio.to_thread(eventually, lambda: shared.busy() == 1)
            flood = [asyncio.create_task(ask(client, FLOOD, max_tokens=4)) for _ in range(JOBS)]
            queue: dict[str, Any] = {"depth": 0}
            while queue["depth"] < JOBS:
                queue = await look(client)
            single = asyncio.create_task(ask(client, OTHER, max_tokens=4))
            while queue["depth"] < JOBS + 1:
                queue = await look(client)
            assert not holder.done(), "the flood was to wait behind it"
            assert queue["by_owner"] == {"flood": JOBS, "other": 1}
            assert [place["owner"] for place in queue["waiting"][:3]].count("other") == 1
            await single
            assert sum(task.done() for task in flood) < JOBS // 2, "the flood was served first"
            answers = await asyncio.gather(holder, *flood)
            assert all(answer["finish_reason"] == "length" for answer in answers)

    asyncio.run(main())
