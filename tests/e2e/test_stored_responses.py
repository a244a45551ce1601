"""Stored responses and conversations of a server that is killed: what its successor knows."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import Start
from tests.support.server import ALIAS, ForgeServer, eventually

PARAMS: dict[str, Any] = {"model": ALIAS, "temperature": 0, "max_output_tokens": 16}
FEW = ("--workers", "1", "--slots", "2")
MARK = "heliotrope"
UNTOLD = "vermilion"


def client_of(server: ForgeServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0, timeout=60)


def holds(folder: Path, text: str) -> bool:
    """Return whether any file below a folder has a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return any(text.encode() in path.read_bytes() for path in files)


class Before:
    """Objects that a server was asked to keep before it was killed."""

    def __init__(self, client: openai.OpenAI) -> None:
        first = client.responses.create(input=f"what is 2+2? {MARK}", **PARAMS)
        self.second = client.responses.create(
            input="and 3+3?", previous_response_id=first.id, **PARAMS
        )
        client.responses.delete(first.id)
        self.first = first
        self.untold = client.responses.create(input=UNTOLD, store=False, **PARAMS)
        hello: Any = {"role": "user", "content": "hello"}
        self.conversation = client.conversations.create(items=[hello], metadata={"topic": "a"})
        client.responses.create(input="hi", conversation=self.conversation.id, **PARAMS)
        untold: Any = {"input": UNTOLD, "conversation": self.conversation.id, "store": False}
        client.responses.create(**untold, **PARAMS)
        self.done = client.responses.create(input="a story", background=True, **PARAMS)
        eventually(lambda: client.responses.retrieve(self.done.id).status != "queued")
        eventually(lambda: client.responses.retrieve(self.done.id).status != "in_progress")
        self.events = [e.to_dict() for e in client.responses.retrieve(self.done.id, stream=True)]
        endless = {**PARAMS, "max_output_tokens": 2000, "extra_body": {"ignore_eos": True}}
        self.running = client.responses.create(input="a story", background=True, **endless)
        eventually(lambda: client.responses.retrieve(self.running.id).status == "in_progress")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "kept"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Before]:
    """A server that was killed while it was at work."""
    logs = tmp_path_factory.mktemp("first")
    server = ForgeServer(logs, *FEW, "--data-dir", str(folder)).wait_ready()
    try:
        with client_of(server) as client:
            asked = Before(client)
        server.process.kill()
        server.process.wait()
        yield asked
    finally:
        server.kill()


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, before: Before
) -> Iterator[openai.OpenAI]:
    """A client of its successor."""
    server = ForgeServer(tmp_path_factory.mktemp("next"), *FEW, "--data-dir", str(folder))
    try:
        with client_of(server.wait_ready()) as made:
            yield made
        server.stop()
    finally:
        server.kill()


def test_a_conversation_goes_on_after_the_restart(client: openai.OpenAI, before: Before) -> None:
    told = client.responses.retrieve(before.second.id)
    assert told.to_dict() == before.second.to_dict()
    third = client.responses.create(input="thanks", previous_response_id=before.second.id, **PARAMS)
    whole: list[Any] = [
        {"role": "user", "content": f"what is 2+2? {MARK}"},
        *(item.to_dict() for item in before.first.output),
        {"role": "user", "content": "and 3+3?"},
        *(item.to_dict() for item in before.second.output),
        {"role": "user", "content": "thanks"},
    ]
    stateless = client.responses.create(input=whole, store=False, **PARAMS)
    assert third.output_text == stateless.output_text
    assert third.usage is not None
    assert stateless.usage is not None
    assert third.usage.input_tokens == stateless.usage.input_tokens
    (item,) = client.responses.input_items.list(before.second.id).data
    assert item.type == "message"


def test_what_was_deleted_or_not_stored_is_not_there(client: openai.OpenAI, before: Before) -> None:
    for gone in (before.first, before.untold):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(gone.id)


def test_conversations_have_their_items(client: openai.OpenAI, before: Before) -> None:
    found = client.conversations.retrieve(before.conversation.id)
    assert found.metadata == {"topic": "a"}
    items = list(client.conversations.items.list(found.id, order="asc"))
    assert [item.type for item in items] == ["message"] * 3  # without what is not to be stored
    client.responses.create(input="more", conversation=found.id, **PARAMS)
    assert len(list(client.conversations.items.list(found.id))) == 5


def test_work_in_the_background_is_told_again(client: openai.OpenAI, before: Before) -> None:
    found = client.responses.retrieve(before.done.id)
    assert found.status == "incomplete"  # 16 tokens are no story
    events = [e.to_dict() for e in client.responses.retrieve(before.done.id, stream=True)]
    assert events == before.events
    late = client.responses.retrieve(before.done.id, stream=True, starting_after=2)
    assert [e.to_dict() for e in late] == before.events[3:]


def test_what_was_at_work_has_failed_and_says_why(client: openai.OpenAI, before: Before) -> None:
    found = client.responses.retrieve(before.running.id)
    assert found.status == "failed"
    assert found.error is not None
    assert "stopped" in found.error.message
    (event,) = client.responses.retrieve(before.running.id, stream=True, starting_after=5)
    assert (event.type, event.sequence_number) == ("response.failed", 6)
    assert client.responses.cancel(before.running.id).status == "failed"
    client.responses.delete(before.running.id)


def test_only_what_is_to_be_stored_is_on_the_disk(folder: Path, before: Before) -> None:
    assert holds(folder, MARK)
    assert not holds(folder, UNTOLD)
    assert before.untold.output_text
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*")} == {0}


def test_without_a_folder_nothing_is_on_the_disk(start_server: Start, tmp_path: Path) -> None:
    places = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    env = {name: str(tmp_path) for name in (*places, "XDG_STATE_HOME")}
    server = start_server(*FEW, env=env)
    with client_of(server) as client:
        made = client.responses.create(input=f"hello {MARK}", **PARAMS)
        assert client.responses.retrieve(made.id).status == made.status
        assert not holds(tmp_path, MARK)
    server.stop()


def test_a_bug_of_the_store_writes_no_prompt_to_the_log(
    start_server: Start, tmp_path: Path
) -> None:
    """Its client gets 500; the log has the statement and what was wrong, without its values."""
    folder = tmp_path / "data"
    server = start_server(*FEW, "--data-dir", str(folder))
    with sqlite3.connect(folder / "forge.db") as behind:
        behind.execute("DROP TABLE object_items")
    behind.close()
    with client_of(server) as client, pytest.raises(openai.InternalServerError) as raised:
        client.responses.create(input=MARK, **PARAMS)
    assert MARK not in str(raised.value)
    eventually(lambda: "StatementFailed" in server.stderr, "the log has it")
    assert "INSERT INTO object_items" in server.stderr
    assert MARK not in server.stderr
