"""Batches as clients send them."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import openai
from openai.types import Batch

from tests.support.server import DEADLINE_S, ForgeServer, eventually

CHAT: Final = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(custom_id: str, body: dict[str, Any], url: str = CHAT) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def jsonl(lines: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def send(client: openai.OpenAI, lines: Iterable[Any], url: str = CHAT, **more: Any) -> Batch:
    """Upload the lines, and ask for their batch."""
    file = client.files.create(file=("input.jsonl", jsonl(lines)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint=url,  # type: ignore[arg-type]  # one that OpenAI has not
        completion_window=more.pop("completion_window", "24h"),
        **more,
    )


def ended(client: openai.OpenAI, batch: Batch, deadline: float = DEADLINE_S) -> Batch:
    """The batch, once it has ended."""

    def look() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ENDED else None

    found = eventually(look, f"{batch.id} ends", deadline)
    assert found is not None
    return found


def results(client: openai.OpenAI, file: str | None) -> dict[str, dict[str, Any]]:
    """The lines of an output file by their `custom_id`, of which each is there once."""
    assert file is not None
    found = [json.loads(each) for each in client.files.content(file).text.splitlines()]
    counts = Counter(each["custom_id"] for each in found)
    assert set(counts.values()) <= {1}
    return {each["custom_id"]: each for each in found}


def text_of(result: dict[str, Any]) -> str:
    """Return the answer to a chat."""
    assert result["error"] is None
    assert result["response"]["status_code"] == 200
    text: str = result["response"]["body"]["choices"][0]["message"]["content"]
    return text


def texts(client: openai.OpenAI, batch: Batch) -> dict[str, str]:
    """Return the answers to the lines of a batch, all with success."""
    found = results(client, batch.output_file_id)
    return {id_: text_of(each) for id_, each in found.items()}


@contextlib.contextmanager
def client_of(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def sampled_chats(count: int) -> list[dict[str, Any]]:
    """Chats that are sampled, each with a seed of its own."""
    made = []
    for number in range(count):
        messages = [
            {"role": "system", "content": f"You are helper {number % 7}. " * 10},
            {"role": "user", "content": f"Tell me about {number}."},
        ]
        params = {"max_tokens": 2 + number % 5, "temperature": 0.8, "seed": number}
        made.append(line(f"line-{number}", {"messages": messages, **params}))
    return made


def check_batch(client: openai.OpenAI, batch: Batch, expected: dict[str, str]) -> None:
    """All lines of a batch have the answers of an undisturbed one, and its counts are right."""
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.error_file_id is None, client.files.content(batch.error_file_id).text[:2000]
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (len(expected), len(expected), 0)
    assert texts(client, batch) == expected
    usages = [
        each["response"]["body"]["usage"] for each in results(client, batch.output_file_id).values()
    ]
    assert batch.usage is not None
    assert batch.usage.output_tokens == sum(each["completion_tokens"] for each in usages)
