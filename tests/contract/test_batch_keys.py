"""Batches in the name of a key: its limits, its priority, its models, and no other key's eyes."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.support.batch_requests import CHAT, ENDED, jsonl, line
from tests.support.front import blocking_front
from tests.support.server import ALIAS, eventually

PER_MINUTE = 60


def key(name: str, **rights: Any) -> ApiKey:
    return ApiKey(name, digest(name), **rights)


KEYS = [
    key("app"),
    key("slow", requests_per_minute=PER_MINUTE),
    key("low", max_priority=1.0),
    key("elsewhere", models=("another",)),
]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    config = Config(alias=ALIAS, data_dir=tmp_path_factory.mktemp("data"))
    with blocking_front(config, Keyring(KEYS), answers=True) as client:
        yield client


def ask(front: httpx.Client, owner: str, method: str, path: str, **more: Any) -> httpx.Response:
    return front.request(method, path, headers={"Authorization": f"Bearer {owner}"}, **more)


def send(front: httpx.Client, owner: str, count: int, **fields: Any) -> httpx.Response:
    """Ask for a batch of so many lines."""
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    data = jsonl(line(str(number), body) for number in range(count))
    upload = {"file": ("in.jsonl", data)}
    file = ask(front, owner, "POST", "/v1/files", files=upload, data={"purpose": "batch"})
    assert file.status_code == 200, file.text
    asked = {"input_file_id": file.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    return ask(front, owner, "POST", "/v1/batches", json={**asked, **fields})


def ended(front: httpx.Client, owner: str, id_: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = ask(front, owner, "GET", f"/v1/batches/{id_}").json()
        return found if found["status"] in ENDED else None

    found = eventually(look, "the batch ends")
    assert found is not None
    return found


def test_lines_keep_the_limits_of_their_key(front: httpx.Client) -> None:
    """Two lines more than it may send at once: they wait for its next requests, one a second."""
    count = PER_MINUTE + 2
    begin = time.monotonic()
    batch = ended(front, "slow", send(front, "slow", count).json()["id"])
    assert time.monotonic() - begin > 1  # however fast the machine
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": count, "completed": count, "failed": 0}


def test_a_batch_is_its_key_s(front: httpx.Client) -> None:
    id_ = send(front, "app", 1).json()["id"]
    assert ask(front, "low", "GET", f"/v1/batches/{id_}").status_code == 404
    assert ask(front, "low", "POST", f"/v1/batches/{id_}/cancel").status_code == 404
    assert ask(front, "low", "GET", f"/v1/batches?after={id_}").status_code == 404
    assert ask(front, "low", "GET", "/v1/batches").json()["data"] == []
    done = ended(front, "app", id_)
    for file in (done["input_file_id"], done["output_file_id"]):
        assert ask(front, "low", "GET", f"/v1/files/{file}/content").status_code == 404
        assert ask(front, "app", "GET", f"/v1/files/{file}/content").status_code == 200
    body = {"input_file_id": done["input_file_id"], "endpoint": CHAT, "completion_window": "24h"}
    stolen = ask(front, "low", "POST", "/v1/batches", json=body)
    assert (stolen.status_code, stolen.json()["error"]["param"]) == (404, "input_file_id")


def test_without_a_key_there_are_none(front: httpx.Client) -> None:
    assert front.get("/v1/batches").status_code == 401
    assert front.post("/v1/batches", json={}).status_code == 401


def test_the_priority_is_bounded_by_the_key(front: httpx.Client) -> None:
    refused = send(front, "low", 1, metadata={"priority": "urgent"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "priority_not_allowed")
    for priority in ("normal", "1", "-3.5"):
        made = send(front, "low", 1, metadata={"priority": priority})
        assert ended(front, "low", made.json()["id"])["status"] == "completed"


def test_models_are_those_of_the_key(front: httpx.Client) -> None:
    batch = ended(front, "elsewhere", send(front, "elsewhere", 1).json()["id"])
    assert batch["status"] == "failed"
    assert [each["code"] for each in batch["errors"]["data"]] == ["model_not_found"]
