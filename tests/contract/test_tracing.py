"""Spans of every dialect, as a collector gets them: times and numbers, and no text of clients."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.tracing.attributes import ATTRIBUTES
from tests.support.collector import DEADLINE_S, Collector, Received, collector
from tests.support.dialects import CHAT, INFER, Way
from tests.support.played_front import Front, until
from tests.support.ways import FREE, answer, ask, serving

pytestmark = pytest.mark.anyio

SECRET = "kiwi"
"""The prompt of these requests: it must not come to the collector."""
CLIENT = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture
def trace_id() -> str:
    return os.urandom(16).hex()


@pytest.fixture
async def traced(receiver: Collector, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """A gateway that keeps all spans."""
    for name, value in receiver.environ().items():
        monkeypatch.setenv(name, value)
    async with serving(Front([FREE], max_queue=1, alias="tiny")) as front:
        yield front
    for body in receiver.raw:
        assert SECRET.encode() not in body
    for span in receiver.spans:
        assert span.names() <= ATTRIBUTES.keys()


def parent(trace_id: str, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{CLIENT}-{flags}", "tracestate": "vendor=1"}


def check_nested(spans: dict[str, Received], name: str) -> None:
    """One below the other, each within the one above it."""
    (above,) = (each for each in spans.values() if each.kind == "server")
    work = spans[name]
    assert (above.parent, work.parent) == (CLIENT, above.span_id)
    assert above.start_ns <= work.start_ns <= work.end_ns <= above.end_ns
    for each in spans.values():
        assert each.state == "vendor=1"
        if each not in (above, work):
            assert each.parent == work.span_id
            assert work.start_ns <= each.start_ns <= each.end_ns <= work.end_ns


async def test_a_request(traced: Front, receiver: Collector, way: Way, trace_id: str) -> None:
    asking = ask(traced, way, parent(trace_id), prompt=SECRET, seed=7, max_tokens=20)
    id_ = await traced.running()
    told = traced.pool.running()[id_].trace
    traced.pool.begin(id_, prompt=7, cached=3)
    traced.pool.progress(id_, 2)
    traced.pool.finish(id_)
    response = await asking
    assert response.status_code == 200
    spans = receiver.trace(5, trace_id)
    name = next(each for each in spans if each.endswith(" tiny"))
    assert set(spans) == {f"POST {way.path}", name, "queue", "prefill", "decode"}
    check_nested(spans, name)
    assert told is not None, "the worker hears of the trace"
    assert told.traceparent == f"00-{trace_id}-{spans[name].span_id}-01"
    assert told.tracestate == "vendor=1"
    about = spans[name].attributes
    assert about["gen_ai.operation.name"] == name.split()[0]
    assert about["gen_ai.operation.name"] in ("chat", "text_completion")
    assert about["gen_ai.request.model"] == about["gen_ai.response.model"] == "tiny"
    assert about["gen_ai.usage.input_tokens"] == about["gen_ai.usage.prompt_tokens"] == 7
    assert about["gen_ai.usage.output_tokens"] == about["gen_ai.usage.completion_tokens"] == 3
    assert about["gen_ai.usage.cache_read.input_tokens"] == 3
    assert about["gen_ai.request.seed"] == 7
    assert about["gen_ai.request.max_tokens"] == 20
    assert about["gen_ai.request.stream"] is way.stream
    assert about["gen_ai.response.finish_reasons"] == ["stop"]
    assert about["gen_ai.response.id"] == response.headers["x-request-id"]
    assert about["forge.owner"] == "app"
    assert about["forge.outcome"] == "finished"
    http = spans[f"POST {way.path}"].attributes
    assert http["http.response.status_code"] == 200
    assert http["http.route"] == http["url.path"] == way.path
    assert http["forge.request.id"] == response.headers["x-request-id"]
    assert http["user_agent.original"].startswith("python-httpx/")
    assert {each.error for each in spans.values()} == {None}


async def test_a_worker_dies(traced: Front, receiver: Collector, way: Way, trace_id: str) -> None:
    """One trace over both attempts, which leaves no time out."""
    asking = ask(traced, way, parent(trace_id), prompt=SECRET)
    id_ = await traced.running()
    traced.pool.begin(id_)
    traced.pool.progress(id_, 2)
    traced.pool.die(0)
    await traced.running()
    traced.pool.begin(id_)
    traced.pool.finish(id_)
    await asking
    receiver.trace(7, trace_id)
    spans = [each for each in receiver.spans if each.trace_id == trace_id]
    work = next(each for each in spans if each.name.endswith(" tiny"))
    assert [name for name, _, _ in work.events] == ["worker_lost", "failed_over"]
    assert work.attributes["forge.retried"] is True
    parts = sorted((e for e in spans if e.parent == work.span_id), key=lambda e: e.start_ns)
    assert [each.name for each in parts] == ["queue", "prefill", "decode", "queue", "decode"]
    assert [each.attributes.get("forge.attempt") for each in parts] == [None, 1, 1, None, 2]
    assert parts[3].attributes["forge.queue.reason"] == "worker_lost"
    starts, ends = [each.start_ns for each in parts], [each.end_ns for each in parts]
    assert starts == [work.start_ns, *ends[:-1]]
    assert ends[-1] <= work.end_ns


async def test_a_failure(traced: Front, receiver: Collector, way: Way, trace_id: str) -> None:
    asking = ask(traced, way, parent(trace_id), prompt=SECRET)
    id_ = await traced.running()
    traced.pool.begin(id_)
    traced.pool.progress(id_)
    traced.pool.fail(id_)
    status = (await asking).status_code
    spans = receiver.trace(5, trace_id)
    work = next(each for name, each in spans.items() if name.endswith(" tiny"))
    assert work.error == work.attributes["error.type"] == "worker_failed"
    http = spans[f"POST {way.path}"]
    assert http.attributes["http.response.status_code"] == status
    assert http.error == (None if way.stream else "500")


async def test_a_hang_up(traced: Front, receiver: Collector, way: Way) -> None:
    seen = len(receiver.spans)
    gone = traced.connect(way.path, way.body(SECRET))
    id_ = await traced.running()
    traced.pool.begin(id_)
    traced.pool.progress(id_)
    if way.stream:
        await until(lambda: len(gone.sent) > 1)
    await gone.hang_up()
    traced.pool.finish(id_, "cancelled")
    spans = receiver.after(seen, 5)
    work = next(each for each in spans if each.name.endswith(" tiny"))
    assert work.attributes["forge.outcome"] == "cancelled"
    assert work.error is None
    assert len({each.trace_id for each in spans}) == 1


async def test_a_refused_request(
    traced: Front, receiver: Collector, way: Way, trace_id: str
) -> None:
    """It never becomes work: the HTTP span is all."""
    first, second = ask(traced, way), None
    await traced.running()
    second = ask(traced, way)
    await until(lambda: traced.gateway.dispatcher.stats.depth() == 1)
    refused = await ask(traced, way, parent(trace_id))
    assert refused.status_code == 429
    for asked in (first, second):
        answer(traced, await traced.running())
        await asked
    (span,) = receiver.trace(1, trace_id).values()
    assert span.attributes["http.response.status_code"] == 429
    assert span.error is None, "the client's fault is no error of a server"
    other = os.urandom(16).hex()
    assert (await traced.client.post(way.path, content=b"{", headers=parent(other))).is_error
    (span,) = receiver.trace(1, other).values()
    assert span.attributes["http.response.status_code"] == 400


async def test_what_clients_write_is_bounded(
    traced: Front, receiver: Collector, trace_id: str
) -> None:
    headers = {**parent(trace_id), "user-agent": "A\x1b[31m" + "x" * 5000}
    path = "/v1/" + "y" * 5000
    assert (await traced.client.get(path, headers=headers)).status_code == 404
    (span,) = receiver.trace(1, trace_id).values()
    assert span.name == "GET"
    assert span.attributes["user_agent.original"] == "A?[31m" + "x" * 250
    assert span.attributes["url.path"] == path[:256]
    assert "http.route" not in span.attributes


@pytest.mark.parametrize(
    "bad",
    [
        "00-0-0-01",
        "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "0" * 32 + "-" + "b" * 16 + "-01",
        "x" * 8000,
    ],
)
async def test_a_malformed_parent_begins_a_trace(
    traced: Front, receiver: Collector, bad: str
) -> None:
    seen = len(receiver.spans)
    asking = ask(traced, Way(INFER, False), {"traceparent": bad, "tracestate": "a=1"})
    answer(traced, await traced.running())
    await asking
    spans = receiver.after(seen, 5)
    (above,) = (each for each in spans if each.kind == "server")
    assert above.parent == ""
    assert re.fullmatch("[0-9a-f]{32}", above.trace_id)
    assert {each.state for each in spans} == {""}


async def test_operators_looks_and_pages_are_not_traced(
    traced: Front, receiver: Collector, trace_id: str
) -> None:
    for path in ("/health", "/metrics", "/workers", "/queue", "/queue/a", "/docs", "/dashboard"):
        await traced.client.get(path, headers=parent("b" * 32))
    await traced.client.get("/v1/models", headers=parent(trace_id))
    (span,) = receiver.trace(1, trace_id).values()
    assert span.name == "GET /v1/models"
    assert not [each for each in receiver.spans if each.trace_id == "b" * 32]


async def test_several_choices(traced: Front, receiver: Collector, trace_id: str) -> None:
    asking = ask(traced, Way(CHAT, False), parent(trace_id), n=2)
    for _ in range(2):
        answer(traced, await traced.running())
    assert (await asking).status_code == 200
    spans = receiver.all_of(trace_id, 8)
    work = next(each for each in spans if each.name == "chat tiny")
    assert work.attributes["gen_ai.usage.num_sequences"] == 2
    assert work.attributes["gen_ai.response.finish_reasons"] == ["stop", "stop"]
    parts = [each for each in spans if each.parent == work.span_id]
    assert sorted(each.attributes["forge.choice"] for each in parts) == [0, 0, 0, 1, 1, 1]


async def test_a_line_of_a_batch(traced: Front, receiver: Collector) -> None:
    """A trace of its own, which came by no connection."""
    seen = len(receiver.spans)
    body = CHAT.body(SECRET)
    asking = asyncio.create_task(traced.gateway.front.lines.call(FREE, CHAT.path, body, 0.0, True))
    answer(traced, await traced.running())
    assert (await asking).status == 200
    spans = {each.name: each for each in receiver.after(seen, 5)}
    line = spans[f"batch line {CHAT.path}"]
    assert (line.kind, line.parent) == ("internal", "")
    assert line.attributes["forge.batch.line"] is True
    assert "client.address" not in line.attributes
    assert spans["chat tiny"].parent == line.span_id
    assert spans["chat tiny"].attributes["forge.spare"] is True


@pytest.mark.parametrize("known", [True, False], ids=["of a client's trace", "of its own"])
async def test_a_line_is_linked_to_the_request_for_its_batch(
    tmp_path: Path,
    receiver: Collector,
    monkeypatch: pytest.MonkeyPatch,
    trace_id: str,
    known: bool,
) -> None:
    """Also when another server runs it, which knows the batch from the store alone."""
    for name, value in receiver.environ().items():
        monkeypatch.setenv(name, value)
    seen = len(receiver.spans)
    options: dict[str, Any] = {"alias": "tiny", "data_dir": tmp_path / "data"}
    headers = parent(trace_id) if known else {}
    line = {"custom_id": "a", "method": "POST", "url": CHAT.path, "body": CHAT.body(SECRET)}
    first = Front([FREE], **options)
    await first.gateway.start()
    file = {"file": ("in.jsonl", json.dumps(line).encode())}
    uploaded = await first.client.post("/v1/files", data={"purpose": "batch"}, files=file)
    batch = {
        "input_file_id": uploaded.json()["id"],
        "endpoint": CHAT.path,
        "completion_window": "24h",
    }
    made = await first.client.post("/v1/batches", json=batch, headers=headers)
    assert made.status_code == 200, made.text
    assert "origin" not in made.json()
    await eventually(lambda: bool(first.pool.running()), "the line runs")
    await first.client.aclose()
    await first.gateway.stop()
    async with serving(Front([FREE], **options)) as front:
        await eventually(lambda: bool(front.pool.running()), "the line runs again")
        answer(front, await front.running())
        await eventually(lambda: any(s.name == "chat tiny" for s in receiver.spans[seen:]))
        (asked,) = (s for s in receiver.spans[seen:] if s.name == "POST /v1/batches")
        ran = [s for s in receiver.spans[seen:] if s.name.startswith("batch line")]
        assert ran
        for each in ran:
            assert each.links == [(asked.trace_id, asked.span_id)]
            assert each.trace_id != asked.trace_id
        if known:
            assert asked.trace_id == trace_id
        others = [s for s in receiver.spans[seen:] if s not in ran]
        assert not any(each.links for each in others)


async def eventually(check: Callable[[], bool], what: str = "it is sent") -> None:
    """Wait for what other tasks and threads do."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not check():  # noqa: ASYNC110 (they tell nobody)
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(what) from None


async def test_work_behind_its_request(traced: Front, receiver: Collector, trace_id: str) -> None:
    """Of a response in the background the HTTP span ends first."""
    body = {"input": SECRET, "background": True}
    posted = await traced.client.post("/v1/responses", json=body, headers=parent(trace_id))
    assert posted.status_code == 200
    (above,) = receiver.trace(1, trace_id).values()
    answer(traced, await traced.running())
    spans = receiver.trace(5, trace_id)
    assert spans["chat tiny"].parent == above.span_id
    assert spans["chat tiny"].end_ns > above.end_ns
