"""OpenAI's official client on files and uploads, as in its guides: on a real server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.support.server import ALIAS, ForgeServer
from tests.support.shared_servers import SharedServers

LINE = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'
LARGE = LINE * 40_000
"""3 MB: more than a body may have elsewhere."""


@pytest.fixture(scope="module")
def server(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    folder = tmp_path_factory.mktemp("files") / "data"
    options = ("--workers", "1", "--slots", "4", "--data-dir", str(folder))
    return shared_servers(*options, "--max-body", "1000000", "--max-file", "20000000")


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_file_of_any_size(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(LARGE)
    with path.open("rb") as stream:
        made = client.files.create(file=stream, purpose="batch")
    assert (made.filename, made.bytes, made.purpose) == ("requests.jsonl", len(LARGE), "batch")
    assert made.status == "processed"
    assert made.expires_at == made.created_at + 30 * 86400
    assert client.files.wait_for_processing(made.id) == made
    assert client.files.retrieve(made.id) == made
    content = client.files.content(made.id)
    assert content.read() == LARGE
    with client.files.with_streaming_response.content(made.id) as streamed:
        streamed.stream_to_file(tmp_path / "copy.jsonl")
    assert (tmp_path / "copy.jsonl").read_bytes() == LARGE
    assert list(client.files.content(made.id).iter_lines())[7] == LINE.decode().strip()
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_a_policy_of_expiry(client: openai.OpenAI) -> None:
    made = client.files.create(
        file=("a.txt", b"hello", "text/plain"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert made.expires_at == made.created_at + 7200
    client.files.delete(made.id)


def test_its_pages_follow_each_other(client: openai.OpenAI) -> None:
    made = [
        client.files.create(file=(f"{at}.txt", b"x"), purpose="user_data").id for at in range(5)
    ]
    pages = client.files.list(limit=2, purpose="user_data", order="asc")
    assert [file.id for file in pages] == made
    for id_ in made:
        client.files.delete(id_)


def test_a_purpose_that_is_not_served_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="'purpose': 'fine-tune'"):
        client.files.create(file=b"x", purpose="fine-tune")


def test_a_file_in_chunks(client: openai.OpenAI) -> None:
    whole = client.uploads.upload_file_chunked(
        file=LARGE,
        filename="big.jsonl",
        bytes=len(LARGE),
        mime_type="application/jsonl",
        purpose="batch",
        part_size=1_000_000,
        md5=hashlib.md5(LARGE).hexdigest(),
    )
    assert whole.status == "completed"
    assert whole.file is not None
    assert whole.file.bytes == len(LARGE)
    assert client.files.content(whole.file.id).read() == LARGE
    client.files.delete(whole.file.id)


def test_an_upload_step_by_step(client: openai.OpenAI) -> None:
    upload = client.uploads.create(
        bytes=5, filename="a.txt", mime_type="text/plain", purpose="user_data"
    )
    one = client.uploads.parts.create(upload.id, data=b"hel")
    client.uploads.parts.create(upload.id, data=b"lost")
    two = client.uploads.parts.create(upload.id, data=b"lo")
    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(upload.id, part_ids=[one.id])
    done = client.uploads.complete(upload.id, part_ids=[one.id, two.id])
    assert done.file is not None
    assert client.files.content(done.file.id).read() == b"hello"
    with pytest.raises(openai.ConflictError):
        client.uploads.cancel(upload.id)
    client.files.delete(done.file.id)


def test_its_other_endpoints_have_their_own_limit(client: openai.OpenAI) -> None:
    """--max-body is for what is held in memory, --max-file for what is not."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(model=ALIAS, prompt="x" * 2_000_000)
    assert caught.value.status_code == 413
    with pytest.raises(openai.APIStatusError, match="20000000"):
        client.files.create(file=bytes(21_000_000), purpose="user_data")
