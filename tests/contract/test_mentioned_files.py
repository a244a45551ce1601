"""Files that were uploaded, mentioned by their ids in conversations of three dialects."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.api.mentioned_files import MOST
from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.support.batch_requests import client_of, ended, line, results, send
from tests.support.front import blocking_front
from tests.support.server import ALIAS, ForgeServer
from tests.support.shared_servers import SharedServers

TEXT = "The fox is called Ferdinand. " * 5
QUESTION = "What is the fox called?"
MAX_BODY = 100_000
KEYS = Keyring([ApiKey("app", digest("sk-app")), ApiKey("other", digest("sk-other"))])


@pytest.fixture(scope="module")
def server(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    folder: Path = tmp_path_factory.mktemp("mentioned")
    return shared_servers("--workers", "1", "--slots", "4", "--data-dir", str(folder))


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def file(client: openai.OpenAI) -> str:
    made = client.files.create(file=("fox.txt", TEXT.encode()), purpose="user_data")
    return made.id


def chat(file: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "file", "file": file}, {"type": "text", "text": QUESTION}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0}


def response(file: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "input_file", **file}, {"type": "input_text", "text": QUESTION}]
    asked = [{"role": "user", "content": content}]
    return {"input": asked, "max_output_tokens": 8, "temperature": 0}


def message(source: dict[str, Any]) -> dict[str, Any]:
    content = [
        {"type": "document", "source": source, "title": "fox.txt"},
        {"type": "text", "text": QUESTION},
    ]
    asked = [{"role": "user", "content": content}]
    return {"model": ALIAS, "messages": asked, "max_tokens": 8, "temperature": 0}


INLINE = {
    "file_data": "data:text/plain;base64," + base64.b64encode(TEXT.encode()).decode(),
    "filename": "fox.txt",
}


def test_in_a_chat(client: openai.OpenAI, file: str) -> None:
    found = [
        client.chat.completions.create(model=ALIAS, **chat(each))
        for each in (INLINE, {"file_id": file})
    ]
    assert found[0].choices[0].message.content == found[1].choices[0].message.content
    assert found[0].usage is not None
    assert found[1].usage is not None
    assert found[0].usage.prompt_tokens == found[1].usage.prompt_tokens > 50


def test_in_a_response_which_others_follow(client: openai.OpenAI, file: str) -> None:
    found = [
        client.responses.create(model=ALIAS, **response(each))
        for each in (INLINE, {"file_id": file})
    ]
    assert found[0].output_text == found[1].output_text
    assert found[1].usage is not None
    more = client.responses.create(
        model=ALIAS, input="And?", previous_response_id=found[1].id, max_output_tokens=4
    )
    assert more.usage is not None
    assert more.usage.input_tokens > found[1].usage.input_tokens


def test_in_a_message(server: ForgeServer, file: str) -> None:
    text = {"type": "text", "media_type": "text/plain", "data": TEXT}
    with server.client() as http:
        found = [
            http.post("/v1/messages", json=message(each)).json()
            for each in (text, {"type": "file", "file_id": file})
        ]
        counted = http.post(
            "/v1/messages/count_tokens", json=message({"type": "file", "file_id": file})
        ).json()
    assert found[0]["content"] == found[1]["content"]
    usage = found[1]["usage"]
    given = usage["input_tokens"] + usage["cache_read_input_tokens"]
    assert given == counted["input_tokens"] > 50


def test_in_the_line_of_a_batch(client: openai.OpenAI, file: str) -> None:
    lines = [line("here", chat({"file_id": file})), line("gone", chat({"file_id": "file-none"}))]
    batch = ended(client, send(client, lines))
    assert results(client, batch.output_file_id).keys() == {"here"}
    (gone,) = results(client, batch.error_file_id).values()
    assert gone["response"]["status_code"] == 404
    assert gone["response"]["body"]["error"]["param"] == "messages.0.content.0.file.file_id"


# ------------------------------------------------------------------ in this process


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("data")
    config = Config(alias=ALIAS, data_dir=folder, max_body=MAX_BODY)
    with blocking_front(config, KEYS, answers=True) as client:
        yield client


def upload(front: httpx.Client, content: bytes, name: str = "a.txt") -> str:
    answer = front.post(
        "/v1/files", data={"purpose": "user_data"}, files={"file": (name, content)}, headers=APP
    )
    assert answer.status_code == 200, answer.text
    id_: str = answer.json()["id"]
    return id_


APP = {"Authorization": "Bearer sk-app"}
OTHER = {"Authorization": "Bearer sk-other"}
PATHS = {
    "/v1/chat/completions": (chat, "messages.0.content.0.file.file_id"),
    "/v1/responses": (response, "input.0.content.0.file_id"),
    "/v1/messages": (
        lambda given: message({"type": "file", **given}),
        "messages.0.content.0.source.file_id",
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_another_key_s_file_is_not_there(front: httpx.Client, path: str) -> None:
    body, param = PATHS[path]
    file = upload(front, TEXT.encode())
    assert front.post(path, json=body({"file_id": file}), headers=APP).status_code == 200
    answer = front.post(path, json=body({"file_id": file}), headers=OTHER)
    assert answer.status_code == 404
    assert f"'{param}': there is no file '{file}'" in answer.text


def test_what_is_no_text_is_refused(front: httpx.Client) -> None:
    for content in (b"%PDF-1.7\xff\xfe", b"text\x00text"):
        body = chat({"file_id": upload(front, content, "a.pdf")})
        answer = front.post("/v1/chat/completions", json=body, headers=APP)
        assert answer.json()["error"]["code"] == "file_not_supported"


def test_files_are_bounded_as_bodies_are(front: httpx.Client) -> None:
    part = {"type": "file", "file": {"file_id": upload(front, b"x" * 60_000)}}
    small = {"type": "file", "file": {"file_id": upload(front, b"x")}}
    for parts, status in (([part, part], 413), ([small] * (MOST + 1), 400)):
        body = {"messages": [{"role": "user", "content": parts}]}
        answer = front.post("/v1/chat/completions", json=body, headers=APP)
        assert answer.status_code == status
        at = len(parts) - 1
        assert answer.json()["error"]["param"] == f"messages.0.content.{at}.file.file_id"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file"},
        {"type": "file", "file": None},
        {"type": "file", "file": {"file_id": 7}},
        {"type": "file", "file": {"file_id": None}},
        {"type": ["file"], "file": {"file_id": "x"}},
        {"type": {}, "file": []},
    ],
)
def test_what_mentions_nothing_is_judged_as_ever(front: httpx.Client, part: Any) -> None:
    body = {"messages": [{"role": "user", "content": [part]}]}
    answer = front.post("/v1/chat/completions", json=body, headers=APP)
    assert answer.status_code == 400, answer.text
