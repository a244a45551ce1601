"""Prometheus keeps every series that it ever saw: no client may make one, whatever it sends."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.server import Server, running
from tests.support.server import DEADLINE_S, eventually

pytestmark = pytest.mark.usefixtures("unmeasured")

REQUESTS, CONNECTIONS = 10_000, 10
Series = tuple[str, tuple[tuple[str, str], ...]]


def scraped(server: Server) -> dict[Series, float]:
    """All series with their values."""
    headers = {"Accept": "text/plain"}
    text = httpx.get(server.url + "/metrics", headers=headers, timeout=DEADLINE_S).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def request(number: int) -> tuple[int, bytes]:
    """No two are alike: the status to expect, and the bytes."""
    name = f"n{number}"
    ways: tuple[tuple[int, str, dict[str, Any]], ...] = (
        (200, "/infer", {"query": name, "priority": number / 8, "max_tokens": 1}),
        (200, "/infer", {"query": name, "max_tokens": number % 50 + 1, "seed": number}),
        (404, "/v1/completions", {"model": name, "prompt": name}),
        (200, "/infer", {"query": name, name: number, "max_tokens": 1}),
        (400, "/infer", {"query": name, "priority": name}),
        (404, f"/{name}", {}),
        (504, "/infer", {"query": name, "max_tokens": 10**5, "timeout": 1e-3 + number * 1e-9}),
    )  # fmt: skip
    # What takes long, the sockets' timers included, comes seldom.
    status, path, body = ways[number % 6 if number % 100 else 6]
    content = json.dumps(body).encode()
    head = f"POST {path}?{name}=1 HTTP/1.1\r\nHost: {name}\r\nUser-Agent: {name}\r\n"
    head += f"X-Request-Id: {name}\r\nContent-Length: {len(content)}\r\n\r\n"
    return status, head.encode() + content


async def ask(host: str, port: int, numbers: range) -> Counter[int]:
    """Send these requests on one connection, one after another; the statuses that came."""
    reader, writer = await asyncio.open_connection(host, port)
    statuses = Counter[int]()
    for number in numbers:
        expected, raw = request(number)
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
        await reader.readexactly(int(fields[b"content-length"]))
        status = int(head.split(b" ", 2)[1])
        assert status == expected, (raw, head)
        statuses[status] += 1
    writer.close()
    return statuses


async def ask_all(url: str) -> Counter[int]:
    """All of them, over some connections."""
    address = httpx.URL(url)
    assert address.port is not None
    shares = [range(first, REQUESTS, CONNECTIONS) for first in range(CONNECTIONS)]
    async with asyncio.timeout(DEADLINE_S):
        found = await asyncio.gather(*(ask(address.host, address.port, each) for each in shares))
    return sum(found, Counter[int]())


@pytest.fixture
def null() -> Iterator[Server]:
    """The gateway over a worker that computes nothing."""
    with running("forge", command=("bench.gateway.host",)) as server:
        yield server


def test_series_are_those_of_the_start(null: Server) -> None:
    """The first scrape has them all, before any request, and the last one has no more."""
    before = scraped(null)
    statuses = asyncio.run(ask_all(null.url))
    assert statuses.total() == REQUESTS
    assert set(statuses) == {200, 400, 404, 504}
    finished = "forge_requests_total", ("outcome", "finished")
    eventually(lambda: total(scraped(null), *finished) == statuses[200], "all are counted")
    after = scraped(null)
    refused = statuses.total() - statuses[200]
    assert total(after, "forge_error_responses_total") == refused
    assert total(after, "forge_error_responses_total", ("code", "model_not_found")) > 100
    assert after.keys() == before.keys()
    assert len(after) < 1000
    other = total(after, "forge_requests_total", ("outcome", "finished"), ("class", "other"))
    assert other > 100
    assert total(after, "forge_requests_total", ("outcome", "expired")) == statuses[504] > 10


def total(series: dict[Series, float], name: str, *labels: tuple[str, str]) -> float:
    """Of the series with this name and these labels among theirs."""
    chosen = [
        value for (of, has), value in series.items() if of == name and set(labels) <= set(has)
    ]
    assert chosen
    return sum(chosen)
