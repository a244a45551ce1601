"""Batches for a model that ranks: of the server and of ``forge batch``, answered as clients are."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.batch_requests import client_of, ended, jsonl, line, results, send
from tests.support.rankers import DOCUMENTS, OPTIONS, QUERY, cross_encoder
from tests.support.server import ForgeServer
from tests.support.shared_servers import SharedServers
from tests.support.terminal import forge

BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/rerank": [
        {"query": QUERY, "documents": DOCUMENTS, "top_n": 2, "return_documents": True},
        {"query": QUERY, "texts": DOCUMENTS},  # answered with an array
    ],
    "/v2/rerank": [{"model": "any", "query": QUERY, "documents": DOCUMENTS}],
    "/v1/score": [{"text_1": QUERY, "text_2": DOCUMENTS}, {"text_1": "a", "text_2": "b"}],
}


@pytest.fixture(scope="module")
def server(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    folder = tmp_path_factory.mktemp("ranking")
    model = cross_encoder(folder / "ranks.gguf")
    data = ("--data-dir", str(folder / "data"))
    return shared_servers("--workers", "1", "--slots", "2", *OPTIONS, *data, model=model)


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


NAMES = ("id", "created")


def alike(one: Any, other: Any) -> bool:
    """Compare answers without names and times; scores depend a little on what else is computed."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=1e-3)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        names = one.keys() | other.keys()
        return all(name in NAMES or alike(one.get(name), other.get(name)) for name in names)
    return bool(one == other)


def alone(server: ForgeServer, url: str, body: dict[str, Any]) -> Any:
    """Return the answer to a client."""
    with server.client() as http:
        answer = http.post(url, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def named(url: str) -> dict[str, dict[str, Any]]:
    """Return the bodies of an endpoint that name the served model, or none, by their ids."""
    bodies = [{name: body[name] for name in body if name != "model"} for body in BODIES[url]]
    return {f"{url} {at}": body for at, body in enumerate(bodies)}


@pytest.mark.parametrize("url", BODIES)
def test_lines_are_answered_as_clients_are(
    server: ForgeServer, client: openai.OpenAI, url: str
) -> None:
    bodies = named(url)
    lines = [line(id_, body, url) for id_, body in bodies.items()]
    wrong = line("wrong", {"query": QUERY, "documents": "x", "text_1": 7}, url)
    batch = ended(client, send(client, [*lines, wrong], url))
    assert batch.status == "completed"
    found = results(client, batch.output_file_id)
    said = {id_: each["response"]["body"] for id_, each in found.items()}
    assert alike(said, {id_: alone(server, url, body) for id_, body in bodies.items()})
    (error,) = results(client, batch.error_file_id).values()
    assert (error["custom_id"], error["response"]["status_code"]) == ("wrong", 400)
    assert error["response"]["body"]["error"]["message"]
    assert batch.usage is not None
    assert batch.usage.input_tokens > 0
    assert batch.usage.output_tokens == 0


def test_a_conversation_is_refused_line_by_line(client: openai.OpenAI) -> None:
    """The model has no words: the batch is right, and its lines have errors."""
    body = {"messages": [{"role": "user", "content": "hello"}]}
    batch = ended(client, send(client, [line("a", body)]))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    (error,) = results(client, batch.error_file_id).values()
    assert error["response"]["body"]["error"]["code"] == "model_not_supported"


def test_the_command_has_them_too(server: ForgeServer, tmp_path: Path) -> None:
    bodies = {id_: (url, body) for url in BODIES for id_, body in named(url).items()}
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(jsonl(line(id_, body, url) for id_, (url, body) in bodies.items()))
    done = forge("batch", "--url", server.url, str(file), str(out))
    assert done.returncode == 0, done.stderr
    found = {each["custom_id"]: each for each in map(json.loads, out.read_text().splitlines())}
    said = {id_: each["response"]["body"] for id_, each in found.items()}
    assert alike(said, {id_: alone(server, url, body) for id_, (url, body) in bodies.items()})
