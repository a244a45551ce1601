"""Spare work on a real worker: it fills every slot, and an urgent chat is served at once.

No client can ask for it, so the gateway runs in this process, and its worker is a real one.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import Gateway
from gateway.config.config import Config
from gateway.core.api_key import ANYONE
from tests.support.dialects import CHAT
from tests.support.server import ALIAS, DEADLINE_S
from workers.protocol import Event, Finished, Parked, Started

pytestmark = pytest.mark.anyio

SLOTS = 8
PROMPTS = [
    "hello",
    "what is 2+2?",
    "tell me a story about a fox",
    "what is aging?",
    "why processes?",
    "list five animals",
    "who are you?",
    "tell me a long story about the sea",
]
LONG: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 300}
SHORT: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 3}


class House:
    """A gateway with one worker, and everything that its worker says."""

    def __init__(self, model: Path) -> None:
        self.gateway = Gateway(
            Config(
                model=str(model), alias=ALIAS, workers=1, slots=SLOTS, threads=1,
                cache_type_k="f32", cache_type_v="f32", flash_attn="off", spare=False,
            )
        )  # fmt: skip
        self.events: list[Event] = []
        dispatcher = self.gateway.dispatcher
        hear = dispatcher.on_event

        def on_event(event: Event) -> None:
            self.events.append(event)
            hear(event)

        dispatcher.on_event = on_event  # type: ignore[method-assign]
        transport = httpx.ASGITransport(self.gateway.app())
        self.client = httpx.AsyncClient(
            transport=transport, base_url="http://forge", timeout=DEADLINE_S
        )

    async def chat(self, prompt: str, **params: Any) -> str:
        """The text that a client gets."""
        answer = await self.client.post(CHAT.path, json=CHAT.body(prompt, **params))
        assert answer.status_code == 200, answer.text
        return CHAT.answer(answer).text

    async def line(self, prompt: str) -> str:
        """The text that a line of a batch gets."""
        body = CHAT.body(prompt, **LONG)
        answer = await self.gateway.front.lines.call(ANYONE, CHAT.path, body, 0.0, True)
        assert answer.status == 200, answer.body
        text: str = answer.body["choices"][0]["message"]["content"]
        return text

    async def all_write(self, spare: int) -> None:
        """Return when so many spare sequences run, and each has brought some tokens."""
        stats = self.gateway.dispatcher.stats
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if stats.spare_running() == spare and all(len(s.ids) > 5 for s in stats.served()):
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
async def house(exact: tuple[Path, tuple[str, ...]]) -> AsyncIterator[House]:
    house = House(exact[0])
    await house.gateway.start()
    yield house
    await house.client.aclose()
    assert house.gateway.dispatcher.stats.leaks() == []
    await house.gateway.stop()


async def test_an_urgent_chat_waits_for_a_step_and_disturbs_no_text(house: House) -> None:
    alone = [await house.chat(prompt, **LONG) for prompt in PROMPTS]
    urgent_alone = await house.chat("good morning", **SHORT)
    lines = [asyncio.create_task(house.line(prompt)) for prompt in PROMPTS]
    await house.all_write(SLOTS)
    before = len(house.events)
    assert await house.chat("good morning", **SHORT, priority="urgent") == urgent_alone
    assert not any(line.done() for line in lines)
    events = house.events[before:]
    (parked,) = [event for event in events if isinstance(event, Parked)]
    (started,) = [event for event in events if isinstance(event, Started)]
    assert events.index(parked) < events.index(started)
    ended = [event.id for event in events if isinstance(event, Finished)]
    assert ended == [started.id], "no slot had to come free by itself"
    assert await asyncio.gather(*lines) == alone
    assert house.gateway.dispatcher.stats.preemptions == 1


async def test_as_many_leave_as_come(house: House) -> None:
    """Batch priority is no less than any other here."""
    lines = [asyncio.create_task(house.line(prompt)) for prompt in PROMPTS]
    await house.all_write(SLOTS)
    chats = [house.chat(f"count to {n}", **SHORT, priority=p) for n, p in enumerate((0, 1, 2, -1))]
    await asyncio.gather(*chats)
    assert not any(line.done() for line in lines)
    assert 1 <= house.gateway.dispatcher.stats.preemptions <= len(chats)
    texts = await asyncio.gather(*lines)
    assert texts == [await house.chat(prompt, **LONG) for prompt in PROMPTS]


async def test_lines_get_vectors_too(house: House) -> None:
    body = {"input": ["hello", "what is aging?"], "model": ALIAS}
    answer = await house.gateway.front.lines.call(ANYONE, "/v1/embeddings", body, 0.0, True)
    client = await house.client.post("/v1/embeddings", json=body)
    told, expected = answer.body, client.json()
    assert (answer.status, client.status_code) == (200, 200)
    vectors = [[each.pop("embedding") for each in body["data"]] for body in (told, expected)]
    assert told == expected
    assert len(vectors[0]) == 2
    for one, other in zip(*vectors, strict=True):  # steps of other sizes round in other ways
        assert one == pytest.approx(other, abs=2e-3)
