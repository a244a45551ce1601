"""llama-server's names for the metrics, which are its alone and come by an option."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from prometheus_client.openmetrics import parser as open_parser
from prometheus_client.parser import text_string_to_metric_families

from gateway.config.config import Config
from gateway.core.clock import NANO
from gateway.telemetry.metrics.exposition import render
from gateway.telemetry.metrics.llama_server import LlamaServerMetrics
from tests.support.desk import Desk
from tests.support.front import blocking_front
from tests.support.server import ALIAS
from workers.protocol import Drafts, Load

COUNTERS = {
    "prompt_tokens_total", "prompt_tokens_cached_total", "prompt_seconds_total",
    "tokens_predicted_total", "tokens_predicted_seconds_total", "n_decode_total",
    "spec_decode_num_draft_tokens_total", "spec_decode_num_accepted_tokens_total",
    "spec_decode_num_drafts_total",
}  # fmt: skip
GAUGES = {
    "n_tokens_max", "prompt_tokens_seconds", "predicted_tokens_seconds", "requests_processing",
    "requests_deferred", "n_busy_slots_per_decode",
}  # fmt: skip


def told(text: str) -> dict[str, float]:
    """llama-server's metrics in an exposition."""
    return {
        sample.name.removeprefix("llamacpp:"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("llamacpp:")
    }


def test_what_a_request_brings() -> None:
    desk = Desk(1)
    metrics = LlamaServerMetrics(desk.registry)

    def scraped() -> dict[str, float]:
        return told(render(metrics.collect(), openmetrics=False).decode())

    async def script() -> None:
        assert set(scraped()) == COUNTERS | GAUGES, "all are there from the start"
        assert set(scraped().values()) == {0.0}
        ticket = desk.submit()
        desk.submit()
        await desk.settle()
        assert (scraped()["requests_processing"], scraped()["requests_deferred"]) == (1, 1)
        desk.pool.begin(ticket.id, prompt=12, cached=4)
        desk.clock.now = 2 * NANO
        desk.pool.progress(ticket.id, 2)
        desk.clock.now = 6 * NANO
        desk.pool.progress(ticket.id, 7)
        desk.pool.finish(ticket.id)
        ticket.sequences[0].count_drafts(Drafts(15, 9))
        metrics.on_end(ticket)
        found = scraped()
        assert found["prompt_tokens_total"] == 8
        assert found["prompt_tokens_cached_total"] == 4
        assert found["prompt_seconds_total"] == 2
        assert found["tokens_predicted_total"] == 10
        assert found["tokens_predicted_seconds_total"] == 4
        assert found["n_tokens_max"] == 22
        assert found["prompt_tokens_seconds"] == 4, "tokens a second"
        assert found["predicted_tokens_seconds"] == 2, "without those that come with the prompt"
        drafts = [found[f"spec_decode_num_{n}_total"] for n in ("draft_tokens", "drafts")]
        assert [*drafts, found["spec_decode_num_accepted_tokens_total"]] == [15, 1, 9]
        later = scraped()
        assert later["prompt_tokens_seconds"] == later["predicted_tokens_seconds"] == 0
        assert later["tokens_predicted_total"] == 10
        await desk.settle()
        (waiting,) = desk.pool.running()
        desk.pool.finish(waiting)

    desk.run(script)


def test_steps_of_workers_that_are_gone_count() -> None:
    desk = Desk(1)
    (status,) = desk.pool.workers()
    metrics = LlamaServerMetrics(desk.registry)
    seen = []
    for loads in (
        [Load(steps=10, step_sequences=25)],
        [Load(steps=20, step_sequences=40)],
        [Load(steps=5, step_sequences=5)],  # a new process
        [],  # the model was unloaded
        [Load(steps=1, step_sequences=4), Load(steps=2, step_sequences=2)],
    ):
        found = [replace(status, id=at, load=load) for at, load in enumerate(loads)]
        desk.pool.workers = lambda found=found: found  # type: ignore[misc, method-assign]
        counts = told(render(metrics.collect(), openmetrics=False).decode())
        seen.append((counts["n_decode_total"], counts["n_busy_slots_per_decode"]))
    assert seen == [(10, 2.5), (20, 2), (25, 45 / 25), (25, 45 / 25), (28, 51 / 28)]


@pytest.fixture(scope="module")
def compatible() -> Iterator[httpx.Client]:
    """A gateway with the option."""
    with blocking_front(Config(alias=ALIAS, llamacpp_metrics=True), answers=True) as client:
        yield client


@pytest.mark.parametrize("accept", [None, "*/*", "text/html, */*;q=0.5", "text/plain"])
def test_text_unless_json_is_asked_for(compatible: httpx.Client, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    response = compatible.get("/metrics", headers=headers)
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert int(response.headers["process-start-time-unix"]) > 0
    assert "forge_requests_total" in response.text, "beside Forge's own"
    assert told(response.text).keys() == COUNTERS | GAUGES
    json = compatible.get("/metrics", headers={"Accept": "application/json"})
    assert json.json()["queue_depth"] == 0


def test_requests_and_embeddings_are_counted(compatible: httpx.Client) -> None:
    before = told(compatible.get("/metrics").text)
    body = {"prompt": "x", "max_tokens": 3}
    usage = compatible.post("/v1/completions", json=body).json()["usage"]
    compatible.post("/v1/embeddings", json={"input": ["a", "b"]})
    after = told(compatible.get("/metrics").text)
    more = {name: after[name] - before[name] for name in after}
    assert more["tokens_predicted_total"] == usage["completion_tokens"] == 3
    assert more["prompt_tokens_total"] + more["prompt_tokens_cached_total"] == 21
    assert more["prompt_seconds_total"] > 0


def test_openmetrics_takes_them(compatible: httpx.Client) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    families = open_parser.text_string_to_metric_families(  # type: ignore[no-untyped-call]
        compatible.get("/metrics", headers=accept).text
    )
    kinds = {each.name: each.type for each in families if each.name.startswith("llamacpp:")}
    assert kinds["llamacpp:n_tokens_max"] == "gauge"
    assert sorted(kinds.values()) == ["counter"] * len(COUNTERS) + ["gauge"] * len(GAUGES)


def test_without_the_option_there_are_none() -> None:
    with blocking_front(Config(alias=ALIAS)) as client:
        response = client.get("/metrics", headers={"Accept": "text/plain"})
    assert "llamacpp" not in response.text
    assert "process-start-time-unix" not in response.headers
