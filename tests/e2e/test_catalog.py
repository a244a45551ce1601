"""A server of the models in the caches: pulled, listed, used and deleted as with Ollama."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from tests.support.dialects import CHAT
from tests.support.hub import Hub, serving, sha
from tests.support.server import DEADLINE_S, MODEL, ForgeServer, eventually

CONTENT = MODEL.read_bytes()
HALF = len(CONTENT) // 2
TINY = "hf:org/tiny:Q4_K_M"
SHOWN = "hf.co/org/tiny:Q4_K_M"
OPTIONS = (
    *("--catalog", "--workers", "1", "--slots", "2", "--threads", "1", "--ctx", "1024"),
    *("--cache-ram", "0", "--memory-budget", "145"),
)
"""The budget is for one of these models beside the gateway."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    hub = Hub()
    hub.repositories["org/tiny"] = {"tiny-Q4_K_M.gguf": CONTENT, "tiny-Q8_0.gguf": CONTENT + b"8"}
    yield from serving(hub)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(hub: Hub, home: Path) -> Iterator[ForgeServer]:
    env = {**hub.environment(str(home)), "XDG_STATE_HOME": str(home / "state")}
    with ForgeServer(home / "logs", *OPTIONS, model=None, env=env).serving() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url, timeout=DEADLINE_S) as client:
        yield client


def names(client: ollama.Client) -> set[str]:
    return {model.model or "" for model in client.list().models}


def chat(server: ForgeServer, model: str) -> httpx.Response:
    body = CHAT.body("what is 2+2?", model=model, max_tokens=2)
    return httpx.post(server.url + CHAT.path, json=body, timeout=DEADLINE_S)


def unload(server: ForgeServer, model: str) -> None:
    url = server.url + "/models/unload"
    assert httpx.post(url, json={"model": model}, timeout=DEADLINE_S).status_code == 200


@pytest.fixture(scope="module")
def pulled(server: ForgeServer, client: ollama.Client, hub: Hub) -> list[Any]:
    """Lines of a download that was broken off, and of the one that went on."""
    hub.hold_after = HALF
    first = client.pull(SHOWN, stream=True)
    told = []
    for line in first:
        told.append(line)
        if (line.completed or 0) >= HALF - 2**17:
            break
    first.close()  # type: ignore[attr-defined]
    assert hub.left.wait(DEADLINE_S), "the download ends with its last follower"
    hub.hold_after = None
    return [told, list(client.pull(SHOWN, stream=True))]


def test_nothing_is_loaded_and_the_embedded_model_is_there(
    server: ForgeServer, client: ollama.Client
) -> None:
    assert "forge-tiny:latest" in names(client)
    assert client.ps().models == []
    assert server.workers() == []


def test_a_pull_shows_progress_and_goes_on(pulled: list[Any], hub: Hub) -> None:
    broken, again = pulled
    digest = f"sha256:{sha(CONTENT)}"
    assert broken[0].status == "pulling manifest"
    bars = [line for line in broken if line.digest == digest]
    assert bars[0].completed is None
    assert {line.total for line in bars} == {len(CONTENT)}
    assert [line.completed or 0 for line in bars] == sorted(line.completed or 0 for line in bars)
    resumed = next(line for line in again if line.digest == digest)
    assert resumed.completed >= HALF - 2**17, "what came before is kept"
    assert [line.status for line in again[-3:]] == [
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert any((seen.range or "").startswith("bytes=") for seen in hub.seen)


def test_what_was_pulled_is_served_by_all_of_its_names(
    pulled: list[Any], server: ForgeServer, client: ollama.Client
) -> None:
    assert SHOWN in names(client)
    assert TINY in {card["id"] for card in server.get("/v1/models")["data"]}
    for name in (TINY, "hf:org/tiny"):
        answer = chat(server, name)
        assert answer.json()["model"] == TINY, answer.text
    shown = client.show("hf.co/org/tiny:q4_k_m")
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities
    (running,) = client.ps().models
    assert running.model == SHOWN
    assert running.digest == sha(CONTENT)
    assert running.expires_at is not None


def test_models_share_the_budget_and_one_label(pulled: list[Any], server: ForgeServer) -> None:
    assert chat(server, TINY).status_code == 200
    assert chat(server, "forge-tiny").json()["model"] == "forge-tiny"
    (worker,) = server.workers()
    assert worker["model"] == "forge-tiny", "there is room for one"
    assert worker["id"] == 0
    with server.client(Accept="text/plain") as client:
        metrics = client.get("/metrics").text
    assert TINY not in metrics
    assert 'forge_model_loads_total{model="catalog"}' in metrics
    assert 'forge_model_state{model="forge-tiny",state="loaded"} 1' in metrics


def test_no_request_downloads(server: ForgeServer, hub: Hub) -> None:
    asked = len(hub.seen)
    for name in ("hf:org/tiny:Q8_0", "hf:org/none", "https://example.com/a.gguf", str(MODEL)):
        failure = CHAT.refusal(chat(server, name))
        assert (failure.status, failure.code) == (404, "model_not_found")
    assert len(hub.seen) == asked


def test_a_pull_that_fails_says_why(client: ollama.Client) -> None:
    for name, reason in (("hf.co/org/none", "there is no such model"), ("llama3.2", "library")):
        for stream in (False, True):
            with pytest.raises(ollama.ResponseError, match=reason):
                list(client.pull(name, stream=stream))


def test_a_copy_survives_and_a_name_is_deleted_alone(
    pulled: list[Any], server: ForgeServer, client: ollama.Client, home: Path
) -> None:
    assert client.copy("hf.co/org/tiny", "mine").status == "success"
    assert (home / "state/forge/names.json").exists()
    assert "mine:latest" in names(client)
    assert chat(server, "mine").json()["model"] == TINY
    assert client.delete("mine").status == "success"
    assert "mine:latest" not in names(client)
    assert SHOWN in names(client)


def test_a_model_is_deleted_when_it_is_not_loaded(
    server: ForgeServer, client: ollama.Client, hub: Hub, home: Path
) -> None:
    q8 = "hf.co/org/tiny:Q8_0"
    assert client.pull(q8).status == "success"
    assert chat(server, "hf:org/tiny:Q8_0").status_code == 200
    with pytest.raises(ollama.ResponseError, match="loaded; unload it first"):
        client.delete(q8)
    unload(server, "hf:org/tiny:Q8_0")
    assert client.delete(q8).status == "success"
    assert not [path for path in home.rglob("*Q8_0*") if path.exists()]
    assert chat(server, "hf:org/tiny:Q8_0").status_code == 404
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete(q8)
    assert caught.value.status_code == 404


def test_another_pages_request_changes_nothing(server: ForgeServer, client: ollama.Client) -> None:
    before = names(client)
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        for method, path in (("POST", "/api/pull"), ("DELETE", "/api/delete")):
            answer = httpx.request(
                method, server.url + path, json={"model": "hf.co/org/tiny"}, headers=headers
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
    assert names(client) == before


def test_what_another_process_removes_is_gone(
    pulled: list[Any], server: ForgeServer, client: ollama.Client, home: Path
) -> None:
    """Last: the others use it."""
    assert chat(server, TINY).status_code == 200
    unload(server, TINY)
    for path in home.rglob("*Q4_K_M.gguf"):
        path.unlink()
    eventually(lambda: SHOWN not in names(client), "it is not listed")
    assert chat(server, TINY).status_code == 404
