"""Health, which is told to any client, keys or not."""

import httpx
import pytest

from gateway.app import Gateway
from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.support.memory_pool import MemoryPool

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_it_names_no_model_and_no_file(path: str) -> None:
    pool = MemoryPool(1)
    gateway = Gateway(Config(alias="m"), Keyring([ApiKey("a", digest("sk-a"))]), pool)
    transport = httpx.ASGITransport(gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://forge") as client:
        await gateway.start()
        assert (await client.get(path)).json() == {"status": "ok"}
        pool.trouble = "no worker can be started: /secret/m.gguf has no tensors"
        sick = await client.get(path)
        assert sick.status_code == 503
        assert "no worker can be started" in sick.text
        assert "secret" not in sick.text
        pool.trouble = None
        pool.ready = lambda: False  # type: ignore[method-assign]
        assert (await client.get(path)).status_code == 503
        gateway.dispatcher.drain()
        assert "shutting down" in (await client.get(path)).text
        await gateway.stop()
