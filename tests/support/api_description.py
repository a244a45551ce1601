"""The description of the API, for tests that need it before there is a server."""

import asyncio
import json
from functools import cache
from typing import Any

import httpx

from gateway.app import Gateway
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from tests.support.memory_pool import MemoryPool


def description(keyring: Keyring | None = None) -> dict[str, Any]:
    """Return what a gateway answers at /openapi.json; with ``keyring`` one that needs keys."""
    found: dict[str, Any] = json.loads(_usual() if keyring is None else _asked(keyring))
    return found


@cache
def _usual() -> bytes:
    return _asked(None)


def _asked(keyring: Keyring | None) -> bytes:
    return asyncio.run(_answer(Gateway(Config(), keyring, MemoryPool(1))))


async def _answer(gateway: Gateway) -> bytes:
    transport = httpx.ASGITransport(gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://forge") as client:
        response = await client.get("/openapi.json")
    assert response.status_code == 200, response.text
    return response.content
