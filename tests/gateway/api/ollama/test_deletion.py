"""A model that is being deleted: no request finds it, lists it or loads it any more."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api.ollama.models import management
from gateway.app import Gateway
from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.config.model_entry import ModelEntry
from gateway.core.errors import InternalError, Unavailable
from gateway.model_files import catalog, url_cache
from gateway.model_files.catalog import CatalogEntry
from gateway.served.memory_budget import MemoryBudget, MemoryShare
from tests.support.answering_pool import AnsweringPool
from tests.support.memory_pool import job
from tests.support.server import DEADLINE_S

pytestmark = pytest.mark.anyio

FILE = "host-1234/plain.gguf"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches with a model that Forge has brought."""
    for name in ("HF_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    file = url_cache.cache() / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(EMBEDDED_MODEL.read_bytes())


@pytest.fixture
async def gateway(cache: None) -> AsyncIterator[Gateway]:
    """A server of the catalog, whose pools are in this process."""
    config = Config(catalog=True)
    plan = MemoryBudget([MemoryShare(ModelEntry(config), 1)], 10**9)
    gateway = Gateway(config, plan=plan, make=lambda config, first: AnsweringPool(1))
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:80") as client:
        yield client


class Removal:
    """A deletion of files that waits until the test has looked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._remove, self._error = management._remove, error
        monkeypatch.setattr(management, "_remove", self)

    def __call__(self, entry: CatalogEntry) -> None:
        self.begun.set()
        assert self.go_on.wait(DEADLINE_S)
        if self._error is not None:
            raise self._error
        self._remove(entry)


async def listed(http: httpx.AsyncClient) -> list[str]:
    return [each["id"] for each in (await http.get("/v1/models")).json()["data"]]


async def chat(http: httpx.AsyncClient, model: str) -> httpx.Response:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return await http.post("/v1/chat/completions", json={**body, "timeout": 0.01})


@pytest.mark.parametrize("error", [None, InternalError("the disk refuses")], ids=repr)
async def test_no_request_loads_what_is_being_deleted(
    http: httpx.AsyncClient, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    removal = Removal(monkeypatch, error)
    (name,) = set(await listed(http)) - {"forge-tiny"}
    deleting = asyncio.create_task(http.request("DELETE", "/api/delete", json={"model": name}))
    try:
        assert await asyncio.to_thread(removal.begun.wait, DEADLINE_S)
        answer = await chat(http, name)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert await listed(http) == ["forge-tiny"]
        tags = (await http.get("/api/tags")).json()["models"]
        assert [each["name"] for each in tags] == ["forge-tiny:latest"]
        assert (await chat(http, "forge-tiny")).status_code != 404
    finally:
        removal.go_on.set()
    assert (await deleting).status_code == (200 if error is None else 500)
    kept = [name] if error is not None else []
    assert [each.name for each in catalog.everything() if each.where == "web"] == kept
    assert sorted(await listed(http)) == sorted([*kept, "forge-tiny"])


async def test_a_request_that_has_a_removed_model_in_hand_is_told_so(gateway: Gateway) -> None:
    models = gateway._models.catalog
    assert models is not None
    (found,) = [each for each in catalog.everything() if each.where == "web"]
    served = models.find(found.name)
    assert served is not None
    assert models.forget(served)
    with pytest.raises(Unavailable, match=f"the model '{found.name}' is served no more"):
        served.dispatcher.submit(job())
    assert not gateway.registry.draining
