"""The description of the API, for tests that need it before there is a server."""

import asyncio
from typing import Any

import httpx

from gateway.app import Gateway
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from tests.support.memory_pool import MemoryPool


def description(keyring: Keyring | None = None) -> dict[str, Any]:
    """Return what a gateway answers at /openapi.json; with ``keyring`` one that needs keys."""
    return asyncio.run(_description(Gateway(Config(), keyring, MemoryPool(1))))


async def _description(gateway: Gateway) -> dict[str, Any]:
    transport = httpx.ASGITransport(gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://forge") as client:
        response = await client.get("/openapi.json")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found
