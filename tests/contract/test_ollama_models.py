"""Ollama's endpoints about models, on a gateway in this process."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.model_files import gguf
from tests.support.front import blocking_front
from tests.support.server import ALIAS

HERE = {"Host": "127.0.0.1:8080"}
NAME = f"{ALIAS}:latest"


@pytest.fixture(scope="module", autouse=True)
def own_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Names that are copied here are nothing to other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with blocking_front(Config(alias=ALIAS), answers=True) as client:
        client.headers.update(HERE)
        yield client


def test_tags(http: httpx.Client) -> None:
    (model,) = http.get("/api/tags").json()["models"]
    assert (model["name"], model["model"]) == (NAME, NAME)
    assert model["size"] == EMBEDDED_MODEL.stat().st_size
    assert len(model["digest"]) == 64
    assert set(model["digest"]) <= set("0123456789abcdef")
    assert datetime.fromisoformat(model["modified_at"]) < datetime.now(UTC)
    details = model["details"]
    assert (details["format"], details["family"]) == ("gguf", "llama")
    assert details["families"] == ["llama"]
    assert details["parameter_size"]
    assert details["quantization_level"] == "F16"
    assert http.head("/api/tags").status_code == 200


def test_ps(http: httpx.Client) -> None:
    (model,) = http.get("/api/ps").json()["models"]
    assert model["name"] == NAME
    assert model["size_vram"] == 0
    assert model["context_length"] == 2048
    ends = datetime.fromisoformat(model["expires_at"])
    assert ends > datetime.now(UTC) + timedelta(days=365 * 200), "it is never unloaded"


@pytest.mark.parametrize(
    "body", [{"model": ALIAS}, {"name": NAME}, {"model": "Forge-Tiny:latest", "name": "x"}], ids=str
)
def test_show(http: httpx.Client, body: dict[str, Any]) -> None:
    shown = http.post("/api/show", json=body).json()
    info = shown["model_info"]
    assert info["general.architecture"] == "llama"
    assert info["general.parameter_count"] > 1_000_000
    assert info["llama.context_length"] == 2048, "what a request may have here"
    assert info["llama.embedding_length"] > 0
    assert info["tokenizer.ggml.tokens"] is None
    assert shown["capabilities"] == ["completion", "tools"]
    assert shown["details"]["family"] == "llama"
    assert "{%" in shown["template"]
    assert shown["parameters"].split() == ["num_ctx", "2048"]
    assert "FROM" in shown["modelfile"]
    assert str(EMBEDDED_MODEL) not in str(shown), "no path of the server's"
    assert "tensors" not in shown


def test_show_it_all(http: httpx.Client) -> None:
    shown = http.post("/api/show", json={"model": ALIAS, "verbose": True}).json()
    assert len(shown["model_info"]["tokenizer.ggml.tokens"]) == 2048
    assert {"name", "type", "shape"} == shown["tensors"][0].keys()


def test_large_answers_are_made_one_after_the_other(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads a whole vocabulary: many clients at once must not take all threads."""
    read, inside, most = gguf.read, list[int](), list[int]()

    def slow(path: Path) -> gguf.Gguf:
        inside.append(0)
        most.append(len(inside))
        time.sleep(0.02)
        try:
            return read(path)
        finally:
            inside.pop()

    monkeypatch.setattr(gguf, "read", slow)
    with ThreadPoolExecutor(4) as many:
        body = {"model": ALIAS, "verbose": True}
        answers = many.map(lambda _: http.post("/api/show", json=body).status_code, range(4))
    assert list(answers) == [200] * 4
    assert set(most) == {1}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/api/show", {}, 400, "invalid_request"),
        ("POST", "/api/show", {"model": ""}, 400, "invalid_request"),
        ("POST", "/api/show", {"model": 5}, 400, "invalid_request"),
        ("POST", "/api/show", {"model": "llama3.2"}, 404, "model_not_found"),
        ("POST", "/api/show", {"model": "x" * 100_000}, 404, "model_not_found"),
        ("POST", "/api/show", {"model": "a\0b"}, 404, "model_not_found"),
        ("POST", "/api/pull", {"model": "llama3.2"}, 404, "model_not_found"),
        ("POST", "/api/pull", {"model": "/etc/passwd"}, 404, "model_not_found"),
        ("POST", "/api/pull", {"model": "http://example.com/a.gguf"}, 400, "invalid_request"),
        ("POST", "/api/pull", {"model": "https://[::1/a.gguf"}, 400, "invalid_request"),
        ("POST", "/api/pull", {"model": "https://host:x/a.gguf"}, 400, "invalid_request"),
        ("POST", "/api/pull", {"model": "hf.co/only-one-part"}, 400, "invalid_request"),
        ("POST", "/api/pull", {"model": "hf:a/b:\0"}, 404, "model_not_found"),
        ("POST", "/api/pull", {"model": "--help"}, 404, "model_not_found"),
        ("DELETE", "/api/delete", {}, 400, "invalid_request"),
        ("DELETE", "/api/delete", {"model": "nothing"}, 404, "model_not_found"),
        ("DELETE", "/api/delete", {"model": "/etc/passwd"}, 404, "model_not_found"),
        ("DELETE", "/api/delete", {"model": ALIAS}, 403, "files_not_owned"),
        ("POST", "/api/copy", {"source": ALIAS}, 400, "invalid_request"),
        ("POST", "/api/copy", {"source": "no", "destination": "a"}, 404, "model_not_found"),
        ("POST", "/api/copy", {"source": ALIAS, "destination": ""}, 400, "invalid_request"),
        ("POST", "/api/copy", {"source": ALIAS, "destination": "a\nb"}, 400, "invalid_request"),
        ("POST", "/api/copy", {"source": ALIAS, "destination": "hf:a/b"}, 400, "invalid_request"),
        (
            "POST",
            "/api/copy",
            {"source": ALIAS, "destination": "hf.co/a/b:Q8_0"},
            400,
            "invalid_request",
        ),
        (
            "POST",
            "/api/copy",
            {"source": ALIAS, "destination": "https://a.b/c"},
            400,
            "invalid_request",
        ),
        ("POST", "/api/copy", {"source": ALIAS, "destination": NAME}, 409, "name_taken"),
        ("POST", "/api/copy", {"source": ALIAS, "destination": NAME.upper()}, 409, "name_taken"),
        (
            "POST",
            "/api/copy",
            {"source": ALIAS, "destination": f"library/{NAME}"},
            409,
            "name_taken",
        ),
        ("POST", "/api/create", {"model": "a", "from": ALIAS}, 501, "not_offered"),
        ("POST", "/api/push", {"model": "a"}, 501, "not_offered"),
        ("POST", "/api/blobs/sha256:00", None, 501, "not_offered"),
        ("GET", "/api/blobs/sha256:00", None, 501, "not_offered"),
    ],
)
def test_errors(
    http: httpx.Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    response = http.request(method, path, json=body)
    found = response.json()
    assert (response.status_code, found["code"]) == (status, code), response.text
    assert found["error"]
    assert found.keys() <= {"error", "code", "param"}


def test_fields_of_clients_own_are_let_through(http: httpx.Client) -> None:
    response = http.post("/api/show", json={"model": ALIAS, "metadata": {}, "options": {"a": 1}})
    assert response.status_code == 200
    assert "options" in response.headers["x-ignored-parameters"]


def test_what_is_here_need_not_be_pulled(http: httpx.Client) -> None:
    whole = http.post("/api/pull", json={"model": NAME, "stream": False})
    assert whole.json() == {"status": "success"}
    lines = http.post("/api/pull", json={"model": NAME})
    assert lines.headers["content-type"] == "application/x-ndjson"
    statuses = [line.partition('"status":"')[2].rstrip('"}') for line in lines.text.splitlines()]
    assert statuses == ["pulling manifest", "writing manifest", "success"]


def test_a_copy_is_another_name(http: httpx.Client) -> None:
    body = {"source": NAME, "destination": "chat:latest"}
    response = http.post("/api/copy", json=body)
    assert (response.status_code, response.content) == (200, b"")
    assert {model["name"] for model in http.get("/api/tags").json()["models"]} == {
        NAME,
        "chat:latest",
    }
    ask = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    assert http.post("/v1/chat/completions", json=ask).json()["model"] == ALIAS
    assert {card["id"] for card in http.get("/v1/models").json()["data"]} == {ALIAS, "chat"}
    assert http.request("DELETE", "/api/delete", json={"model": "chat"}).status_code == 200
    assert http.post("/v1/chat/completions", json=ask).status_code == 404
    assert http.request("DELETE", "/api/delete", json={"model": "chat"}).status_code == 404


@pytest.mark.parametrize("asked", ["Chat:LATEST", "library/chat", "chat"])
def test_a_copied_name_is_deleted_in_any_spelling(http: httpx.Client, asked: str) -> None:
    for name in ("Chat", "other"):
        assert http.post("/api/copy", json={"source": NAME, "destination": name}).status_code == 200
    assert http.request("DELETE", "/api/delete", json={"model": asked}).status_code == 200
    listed = {model["name"] for model in http.get("/api/tags").json()["models"]}
    assert listed == {NAME, "other:latest"}
    assert http.request("DELETE", "/api/delete", json={"model": "other"}).status_code == 200


def test_one_of_many_deletes_one_file(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "forge" / "models" / "example.org-0" / "m.gguf"
    body = {"model": str(file)}

    def delete(_: int) -> int:
        return http.request("DELETE", "/api/delete", json=body).status_code

    for _ in range(3):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"GGUF")
        with ThreadPoolExecutor(4) as many:
            assert sorted(many.map(delete, range(4))) == [200, 404, 404, 404]
        assert not file.parent.exists()
