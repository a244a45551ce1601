"""Models come and go as clients of Ollama ask for it, as far as they may: on real workers."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.test_several import SHARED, config, states, tables
from tests.support.server import DEADLINE_S, ForgeServer, eventually

KEYS = {name: f"sk-{name}-91c0" for name in ("mine", "yours", "limited")}
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """Two models, two keys, and time: none goes by itself while the tests last."""
    folder = tmp_path_factory.mktemp("ollama")
    keys = folder / "keys.toml"
    keys.write_text(
        "".join(f'[[key]]\nname = "{name}"\nkey = "{key}"\n' for name, key in KEYS.items())
        + 'models = ["b"]\n'  # of the last one
    )
    keys.chmod(0o600)
    text = SHARED + 'keep-alive = "1h"\n' + tables("a", "b")
    options = ("--threads", "1", "--api-key-file", str(keys), *config(folder, text))
    with ForgeServer(folder, *options, model=None, key=KEYS["mine"]).serving() as server:
        yield server


def ask(server: ForgeServer, key: str, path: str = "/api/chat", **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {KEYS[key]}"}
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S, headers=headers) as client:
        response = client.post(path, json={"stream": False, **body})
    assert response.status_code == 200, response.text
    return response.json()


def gone(server: ForgeServer, model: str) -> None:
    eventually(lambda: states(server)[model] == "unloaded", f"{model} is unloaded")


def test_an_empty_request_loads_and_another_unloads(server: ForgeServer) -> None:
    assert states(server) == {"a": "unloaded", "b": "unloaded"}
    assert ask(server, "mine", "/api/generate", model="b:latest")["done_reason"] == "load"
    assert states(server) == {"a": "unloaded", "b": "loaded"}
    body = {"model": "b", "prompt": "", "keep_alive": 0}
    assert ask(server, "mine", "/api/generate", **body)["done_reason"] == "unload"
    gone(server, "b")


def test_an_answer_may_be_the_last(server: ForgeServer) -> None:
    answer = ask(server, "mine", model="a", messages=HELLO, keep_alive=0)
    assert answer["message"]["content"]
    assert answer["load_duration"] > 0
    gone(server, "a")
    assert ask(server, "mine", "/api/embed", model="a", input="x", keep_alive="0s")["embeddings"]
    gone(server, "a")


def test_no_client_unloads_what_another_counts_on(server: ForgeServer) -> None:
    """Nor by a later wish, and whatever dialect the other speaks."""
    chat = {"model": "a", "messages": HELLO, "max_tokens": 1}
    ask(server, "yours", "/v1/chat/completions", **chat)
    ask(server, "mine", model="a", messages=HELLO, keep_alive=0)
    assert ask(server, "mine", model="a", keep_alive=0)["done_reason"] == "unload"
    with server.client() as client:
        refused = client.post("/models/unload", json={"model": "a"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
    assert states(server)["a"] == "loaded"
    ask(server, "yours", model="a", keep_alive=0)
    gone(server, "a")


def page(server: ForgeServer, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how the live page's stream begins: the greeting, and the whole state."""
    headers, found = {"Authorization": f"Bearer {KEYS[key]}"}, list[dict[str, Any]]()
    with httpx.stream(
        "GET", server.url + "/dashboard/events", headers=headers, timeout=DEADLINE_S
    ) as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                found.append(orjson.loads(line.removeprefix("data: ")))
            if len(found) == 2:
                break
    return found[0], found[1]


def named(state: dict[str, Any]) -> set[str]:
    """Return the models that the tables of a state name."""
    tables = (state.get(name, {}).get("set", []) for name in ("jobs", "workers", "requests"))
    return {row["model"] for table in tables for row in table}


def test_a_limited_key_is_shown_its_models_alone(server: ForgeServer) -> None:
    """In numbers and on the page, as in lists; sums are over all."""
    for model in ("a", "b"):
        ask(server, "mine", model=model, messages=HELLO)
    hello, state = page(server, "mine")
    assert hello["models"] == ["a", "b"]
    assert named(state) == {"a", "b"}
    hello, state = page(server, "limited")
    assert hello["models"] == ["b"]
    assert named(state) == {"b"}
    assert state["facts"]["slots"] == 4
    found = {}
    for key in KEYS:
        headers = {"Authorization": f"Bearer {KEYS[key]}", "Accept": "text/plain"}
        text = httpx.get(server.url + "/metrics", headers=headers, timeout=DEADLINE_S).text
        found[key] = set(re.findall(r'model="(\w+)"', text))
        assert "forge_slots 4.0\n" in text
    assert found == {"mine": {"a", "b"}, "yours": {"a", "b"}, "limited": {"b"}}
