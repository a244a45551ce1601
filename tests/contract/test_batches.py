"""Batches with OpenAI's client, as in its guides, on a server with a place for them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest

from gateway.config.config import Config
from tests.contract.test_openai_client import extras
from tests.support.batch_requests import CHAT, ended, jsonl, line, results, send, text_of
from tests.support.front import blocking_front
from tests.support.server import ALIAS, ForgeServer, eventually
from tests.support.shared_servers import SharedServers


@pytest.fixture(scope="module")
def server(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    folder: Path = tmp_path_factory.mktemp("data")
    return shared_servers("--workers", "1", "--slots", "4", "--data-dir", str(folder))


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client
    eventually(lambda: server.busy() == 0, "nothing runs any more")


def chat(custom_id: str, text: str, **params: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return line(custom_id, {"model": ALIAS, "messages": messages, "max_tokens": 8, **params})


def test_from_the_file_to_the_answers(client: openai.OpenAI) -> None:
    lines = [chat(f"request-{number}", f"what is {number}+2?") for number in range(10)]
    file = client.files.create(file=("input.jsonl", jsonl(lines)), purpose="batch")
    client.files.wait_for_processing(file.id)
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        metadata={"description": "nightly eval job"},
    )
    assert list(extras(batch)) == []
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", CHAT)
    assert (batch.input_file_id, batch.completion_window) == (file.id, "24h")
    assert batch.expires_at == batch.created_at + 86400
    assert batch.output_file_id is None

    batch = ended(client, batch)
    assert list(extras(batch)) == []
    assert (batch.status, batch.model, batch.errors) == ("completed", ALIAS, None)
    assert batch.request_counts is not None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (10, 10, 0)
    assert batch.metadata == {"description": "nightly eval job"}
    assert batch.error_file_id is None
    assert batch.in_progress_at is not None
    assert batch.finalizing_at is not None
    assert batch.completed_at is not None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.output_file_id is not None
    output = client.files.retrieve(batch.output_file_id)
    assert output.purpose == "batch_output"
    found = results(client, batch.output_file_id)
    assert found.keys() == {each["custom_id"] for each in lines}
    assert all(isinstance(text_of(each), str) for each in found.values())
    usages = [each["response"]["body"]["usage"] for each in found.values()]
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(each["prompt_tokens"] for each in usages)
    assert batch.usage.output_tokens == sum(each["completion_tokens"] for each in usages)
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens


BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/completions", {"prompt": "once", "max_tokens": 4}, "choices"),
    ("/v1/embeddings", {"input": ["a", "b"], "model": ALIAS}, "data"),
    ("/v1/responses", {"input": "hello", "max_output_tokens": 4}, "output"),
    (
        "/v1/messages",
        {"model": ALIAS, "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]},
        "content",
    ),
]


@pytest.mark.parametrize(("url", "body", "field"), BODIES, ids=[row[0] for row in BODIES])
def test_other_endpoints(client: openai.OpenAI, url: str, body: dict[str, Any], field: str) -> None:
    batch = ended(client, send(client, [line("a", body, url), line("b", body, url)], url))
    assert batch.status == "completed"
    assert batch.usage is not None
    assert batch.usage.input_tokens > 0
    for each in results(client, batch.output_file_id).values():
        assert each["response"]["status_code"] == 200
        assert each["response"]["body"][field]


def test_errors_of_lines_are_in_the_error_file(client: openai.OpenAI) -> None:
    lines = [chat("good", "hello"), chat("bad", "hello", temperature="hot")]
    batch = ended(client, send(client, lines))
    assert batch.status == "completed"
    assert results(client, batch.output_file_id).keys() == {"good"}
    (bad,) = results(client, batch.error_file_id).values()
    assert bad["custom_id"] == "bad"
    assert bad["response"]["status_code"] == 400
    assert bad["response"]["body"]["error"]["param"] == "temperature"
    assert bad["response"]["request_id"]


def test_a_wrong_file_fails_and_each_wrong_line_is_named(client: openai.OpenAI) -> None:
    lines = [
        chat("a", "x"),
        chat("a", "x"),
        chat("b", "x", model="gpt-none"),
        chat("c", "x", stream=True),
    ]
    batch = ended(client, send(client, lines))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(each.code, each.line, each.param) for each in batch.errors.data] == [
        ("duplicate_custom_id", 2, "custom_id"),
        ("model_not_found", 3, "body.model"),
        ("unsupported_parameter", 4, "body.stream"),
    ]
    assert batch.failed_at is not None


def test_cancel(client: openai.OpenAI) -> None:
    lines = [chat(str(number), "hello", max_tokens=400, ignore_eos=True) for number in range(200)]
    batch = send(client, lines)
    eventually(lambda: client.batches.retrieve(batch.id).status == "in_progress", "it runs")
    cancelling = client.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    assert cancelling.cancelling_at is not None
    batch = ended(client, batch)
    assert (batch.status, batch.cancelled_at is None) == ("cancelled", False)
    errors = results(client, batch.error_file_id)
    assert {each["error"]["code"] for each in errors.values()} == {"batch_cancelled"}
    done = {} if batch.output_file_id is None else results(client, batch.output_file_id)
    assert len(done) + len(errors) == 200
    assert not done.keys() & errors.keys()
    with pytest.raises(openai.ConflictError) as caught:
        client.batches.cancel(ended(client, send(client, [chat("a", "x")])).id)
    assert caught.value.code == "batch_ended"


class InProcess(httpx2.BaseTransport):
    """Hands the requests of OpenAI's client to a gateway in this process."""

    def __init__(self, front: httpx.Client) -> None:
        self._front = front

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the whole answer."""
        answer = self._front.request(
            request.method, str(request.url), headers=request.headers.raw, content=request.read()
        )
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)


def test_expiry(tmp_path: Path) -> None:
    """A day passes while most of the lines wait."""
    passed = 0.0
    config = Config(alias=ALIAS, data_dir=tmp_path)
    with blocking_front(config, answers=True, clock=lambda: time.time() + passed) as front:
        http = httpx2.Client(transport=InProcess(front))
        client = openai.OpenAI(base_url="http://forge/v1", api_key="any", http_client=http)
        lines = [chat(str(number), "hello", max_tokens=1) for number in range(10_000)]
        batch = send(client, lines)
        eventually(
            lambda: client.batches.retrieve(batch.id).status == "in_progress", "its lines run"
        )
        passed = 86400.0
        batch = ended(client, batch)
        assert list(extras(batch)) == []
        assert batch.status == "expired"
        assert batch.expired_at is not None
        assert batch.expires_at is not None
        assert batch.expired_at >= batch.expires_at
        errors = results(client, batch.error_file_id)
        assert {each["error"]["code"] for each in errors.values()} == {"batch_expired"}
        done = {} if batch.output_file_id is None else results(client, batch.output_file_id)
        assert sorted([*done, *errors]) == sorted(each["custom_id"] for each in lines)


def test_lists_are_pages(client: openai.OpenAI) -> None:
    made = [send(client, [chat("a", "x", max_tokens=1)]).id for _ in range(3)]
    page = client.batches.list(limit=2)
    assert [each.id for each in page.data] == made[:0:-1]
    assert page.has_more
    listed = [each.id for each in client.batches.list(limit=2)]
    assert listed[:3] == made[::-1]
    assert len(listed) == len(set(listed))
    for id_ in made:
        ended(client, client.batches.retrieve(id_))


def test_what_lines_share_is_computed_once(client: openai.OpenAI) -> None:
    """Lines with two beginnings take turns in the file, and stand together when they run."""
    beginnings = [f"{kind} rules the house of the {kind}. " * 40 for kind in ("cat", "dog")]
    lines = []
    for number in range(16):
        messages = [
            {"role": "system", "content": beginnings[number % 2]},
            {"role": "user", "content": f"question {number}"},
        ]
        lines.append(line(str(number), {"messages": messages, "max_tokens": 2}))
    batch = ended(client, send(client, lines))
    assert batch.usage is not None
    # Four run at once, so that at most four of each beginning find nothing.
    assert batch.usage.input_tokens_details.cached_tokens > 0.45 * batch.usage.input_tokens


WRONG: list[tuple[dict[str, Any], int, str | None]] = [
    ({"endpoint": "/v1/moderations"}, 400, "endpoint"),
    ({"endpoint": "/v1/batches"}, 400, "endpoint"),
    ({"completion_window": "soon"}, 400, "completion_window"),
    ({"completion_window": "31d"}, 400, "completion_window"),
    ({"completion_window": "0h"}, 400, "completion_window"),
    ({"completion_window": None}, 400, "completion_window"),
    ({"input_file_id": "file-none"}, 404, "input_file_id"),
    ({"input_file_id": 7}, 400, "input_file_id"),
    ({"metadata": {"priority": "soon"}}, 400, "metadata.priority"),
    ({"metadata": {"a": 1}}, 400, "metadata.a"),
    ({"metadata": {str(number): "" for number in range(17)}}, 400, "metadata"),
    (
        {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
        400,
        "output_expires_after.seconds",
    ),
    (
        {"output_expires_after": {"anchor": "now", "seconds": 3600}},
        400,
        "output_expires_after.anchor",
    ),
]


@pytest.mark.parametrize(("change", "status", "param"), WRONG, ids=str)
def test_what_is_wrong_is_named(
    server: ForgeServer, client: openai.OpenAI, change: dict[str, Any], status: int, param: str
) -> None:
    file = client.files.create(file=("in.jsonl", jsonl([chat("a", "x")])), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **change}
    with server.client() as http:
        answer = http.post("/v1/batches", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


def test_only_files_for_batches(client: openai.OpenAI) -> None:
    file = client.files.create(file=("in.jsonl", jsonl([chat("a", "x")])), purpose="user_data")
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert caught.value.param == "input_file_id"


def test_nothing_is_there_of_another_name(server: ForgeServer) -> None:
    with server.client() as http:
        for answer in (
            http.get("/v1/batches/batch_none"),
            http.post("/v1/batches/batch_none/cancel"),
            http.get("/v1/batches?after=batch_none"),
            http.get("/v1/batches/%00"),
        ):
            assert answer.status_code == 404, answer.text
        assert http.get("/v1/batches?limit=0").status_code == 400
        assert http.get("/v1/batches?limit=101").status_code == 400


def test_metrics_count_lines(server: ForgeServer, client: openai.OpenAI) -> None:
    ended(client, send(client, [chat("a", "x")]))
    with server.client(Accept="text/plain") as http:
        text = http.get("/metrics").text
    values = dict(
        each.rsplit(" ", 1) for each in text.splitlines() if each.startswith("forge_batch")
    )
    assert float(values['forge_batch_lines_ended_total{end="completed"}']) >= 1
    assert values['forge_batch_lines{state="running"}'] in ("0", "0.0")


def test_without_a_place_the_endpoints_say_how(shared_servers: SharedServers) -> None:
    server = shared_servers("--workers", "2", "--slots", "4")
    body = {"input_file_id": "f", "endpoint": CHAT, "completion_window": "24h"}
    with server.client() as http:
        for answer in (
            http.post("/v1/batches", json=body),
            http.get("/v1/batches"),
            http.get("/v1/batches/batch_a"),
            http.post("/v1/batches/batch_a/cancel"),
        ):
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "store_off"
            assert "--data-dir" in answer.json()["error"]["message"]


def test_output_is_json_lines(server: ForgeServer, client: openai.OpenAI) -> None:
    batch = ended(client, send(client, [chat("a", "x"), chat("b", "y")]))
    response = httpx.get(f"{server.url}/v1/files/{batch.output_file_id}/content")
    assert [json.loads(each)["custom_id"] for each in response.text.splitlines()] == ["a", "b"]


def test_the_calls_of_litellm(server: ForgeServer, client: openai.OpenAI) -> None:
    """It asks for the list of files before it uses batches: 404 lets it run all lines itself.

    Its other calls are made by the `openai` package, with None for what is not given.
    """
    probe = httpx.get(f"{server.url}/v1/files", headers={"Authorization": "Bearer any"})
    assert probe.status_code == 200
    none: Any = None
    more: Any = {"extra_headers": None, "extra_body": None}
    file = client.files.create(file=("in.jsonl", jsonl([chat("a", "x")])), purpose="batch", **more)
    batch = client.batches.create(
        completion_window="24h", endpoint=CHAT, input_file_id=file.id, metadata=none, **more
    )
    batch = ended(client, batch)
    assert batch.id in [each.id for each in client.batches.list(after=none, limit=none).data]
    assert file.id in [each.id for each in client.files.list().data]
    assert batch.output_file_id is not None
    assert client.files.content(file_id=batch.output_file_id, **more).content
    assert client.files.delete(file_id=file.id).deleted


def test_litellm_runs_lines_itself_where_no_files_are_kept(shared_servers: SharedServers) -> None:
    server = shared_servers("--workers", "2", "--slots", "4")
    assert httpx.get(f"{server.url}/v1/files").status_code == 404
