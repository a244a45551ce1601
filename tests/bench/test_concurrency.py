"""The four experiments in their smallest form, on real servers; what they measure is theirs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("matplotlib", reason="the benchmarks need the extra [bench]")

import httpx
from rich.console import Console

from bench.concurrency import claims, compute, connections, order, sites
from bench.concurrency.__main__ import Plan, run
from bench.concurrency.client import Found
from bench.concurrency.compute import CLIENTS, WAYS
from bench.concurrency.http import answer, parse, respond, reverse
from bench.concurrency.plots import draw
from bench.concurrency.report import Results, markdown
from bench.concurrency.subject import EMBEDDED, Subject, body
from bench.connections.measure import Latency
from bench.server import running

SMALLEST = Plan(0.02, [20], [0.0, 0.01], 0.3, 0.5, 60, 1.0)
pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture
def without_wrk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide wrk: the tests shall not depend on what else is installed."""
    monkeypatch.setattr(shutil, "which", lambda _: None)


@pytest.mark.timeout(300)  # a minute on an idle machine
@pytest.mark.usefixtures("without_wrk")
def test_all_in_their_smallest_form(tmp_path: Path) -> None:
    results = run(SMALLEST, replace(EMBEDDED, order_tokens=16, calibrate=16), Console(quiet=True))
    assert results.sites is not None
    assert results.connections is not None
    assert all(way.failed == 0 for way in results.sites.ways)
    assert [rate.errors for rate in results.connections.rates] == [0] * 8
    assert all(rate.requests_s > 0 for rate in results.connections.rates)
    by_server = {(e.server, e.request.split()[-1]): e.found for e in results.connections.errors}
    assert by_server["study-threads", "body"].answered == 0, "nobody can know that it was whole"
    assert by_server["study-asyncio", "bytes"].unsure == 0, "it reads 1,024 bytes"
    for name in ("threads", "asyncio"):
        for request in ("body", "bytes", "packets"):
            assert by_server[name, request].answered > 0
            assert by_server[name, request].errors == 0
    assert [found.errors for found in results.compute.computed] == [0] * len(WAYS)
    crashes = {c.way: c.failed_after for c in results.compute.crashes}
    assert crashes == {"threads": CLIENTS, "processes": CLIENTS, "Forge": 0}
    assert {c.way: c.failed for c in results.compute.crashes}["Forge"] == 0, "streams survive"
    assert [waiting.lost for waiting in results.compute.waiting] == [0, 0]
    assert results.compute.waiting[0].threads > 60 > results.compute.waiting[1].threads
    assert {s.status for served in results.order.found.values() for s in served} == {200}

    text = markdown(results, 0.5, "plot.png", options=" --quick")
    assert text.count("upported:** ") == sum(map(len, results.claims().values()))
    assert "None" not in text
    draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_the_head_of_a_request() -> None:
    head = b"POST /reverse HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 12\r\n\r\n"
    assert parse(head) == ("POST", "/reverse", 12, True)
    assert parse(head[:-2] + b"Connection: close\r\n\r\n").keep is False
    assert parse(b"GET / HTTP/1.0\r\n\r\n") == ("GET", "/", 0, False)
    with pytest.raises(ValueError, match="unpack"):
        parse(b"nonsense\r\n\r\n")


def test_what_is_answered() -> None:
    post = parse(b"POST /reverse HTTP/1.1\r\n\r\n")
    assert reverse(b'{"a": "stressed", "b": "x"}') == b'{"data": ["desserts", "x"]}'
    found = respond(post, b'{"a": "ab"}', "/reverse", reverse, keep=True)
    assert found == answer(200, b'{"data": ["ba"]}', keep=True)
    assert b"Content-Length: 16\r\nConnection: keep-alive\r\n\r\n" in found
    for sent in (b"[]", b'{"a": 1}', b"{"):
        assert respond(post, sent, "/reverse", reverse, keep=False).startswith(b"HTTP/1.1 400 ")
    other = post._replace(path="/")
    assert respond(other, b"", "/reverse", reverse, keep=True).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("name", ["sequential", "threads", "asyncio", "starlette"])
def test_the_servers_keep_to_http(name: str) -> None:
    """Whatever their clients do."""
    with running(command=("bench.concurrency.host", name)) as server:
        text = "forge " * 2000
        with httpx.Client(base_url=server.url, timeout=10) as client:
            for _ in range(2):
                found = client.post("/reverse", json={"text": text}).json()
                assert found == {"data": [text[::-1]]}
            assert client.get("/health").json() == {"status": "ok"}
            assert client.post("/reverse", content=b"no JSON").status_code == 400
            assert client.post("/").status_code == 404
        load = connections.load(f"{server.url}/reverse", 4, 0.3, connections.BODY, parts=2)
        assert load.answered > 0
        assert load.errors == 0


WRK = """Running 1s test @ http://localhost/
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.26ms  136.42us   7.91ms   96.00%
  Latency Distribution
     50%  890.00us
     75%    1.00ms
     90%    1.20ms
     99%    2.50s
  16572 requests in 10.05s, 1.11MB read
"""
TROUBLE = """  Socket errors: connect 1, read 16572, write 0, timeout 33
  Non-2xx or 3xx responses: 4
"""
END = "Requests/sec:   1649.56\nTransfer/sec:    112.77KB\n"


def test_wrk_is_understood() -> None:
    rate = connections.read_wrk(WRK + END, "threads", 10, 0.0)
    assert rate == connections.Rate("threads", 10, 0.0, 1649.56, 0.89, 2500.0, 0)
    rate = connections.read_wrk(WRK + TROUBLE + END, "threads", 10, 0.0)
    assert rate.errors == 1 + 16572 + 33 + 4


class Case(NamedTuple):
    """Seconds of the three ways to fetch sites with delays of 1, 1 and 2."""

    alone: float
    threads: float
    loop: float
    verdicts: list[bool]


@pytest.mark.parametrize(
    "case",
    [
        Case(4.1, 2.1, 2.1, [True, True]),
        Case(4.1, 4.0, 2.1, [False, True]),
        Case(4.1, 2.1, 4.0, [True, False]),
    ],
)
def test_verdicts_follow_from_figures(case: Case) -> None:
    ways = [
        sites.Fetched("one after another", case.alone, 0),
        sites.Fetched("a thread each", case.threads, 0),
        sites.Fetched("asyncio", case.loop, 0),
    ]
    found = claims.of_sites(sites.Sites([1.0, 1.0, 2.0], ways))
    assert [claim.holds for claim in found] == case.verdicts


def test_who_waited() -> None:
    served = [
        order.Served("urgent", 0.0, 4.0, 200),
        order.Served("urgent", 1.0, 9.0, 503),
        order.Served("batch", 2.0, 3.0, 200),
    ]
    found = ordered({"pool": 10.0, "Forge": 9.5}, 4.0, {"pool": served, "Forge": served[:1]})
    assert found.times("pool", "urgent") == [4.0]
    rows = {(class_, server): rest for class_, server, *rest in order.summary(found)}
    assert rows["urgent", "pool"] == [2, 1, 4.0, 4.0, 4.0]
    assert rows["batch", "pool"][:2] == [1, 0]
    assert rows["batch", "Forge"][:2] == [0, 0]
    assert order.rate(served) == 2 / 9


def ordered(
    capacity: dict[str, float], mixed: float, found: dict[str, list[order.Served]]
) -> order.Order:
    return order.Order(EMBEDDED, capacity, {"one class": 4.0, "mixed": mixed}, 5.0, found)


@pytest.mark.parametrize(
    ("forge", "mixed", "verdicts"), [(9.5, 3.8, [True, True]), (9.4, 3.7, [False, False])]
)
def test_the_order_may_cost_a_twentieth(forge: float, mixed: float, verdicts: list[bool]) -> None:
    served = [order.Served("urgent", 0.0, 4.0, 200)]
    both = {"pool": served, "Forge": served}
    found = claims.of_order(ordered({"pool": 10.0, "Forge": forge}, mixed, both))
    assert [claim.holds for claim in found[-2:]] == verdicts


def computed(way: str, rate: float) -> compute.Computed:
    alone = Latency(0.5, 1.0)
    return compute.Computed(way, rate, 10.0, 20.0, 0, alone, alone, 1.9, 100.0)


def test_another_model_has_two_of_the_four(tmp_path: Path) -> None:
    """There a batch must be twice as fast, and without drafts."""
    large = Subject("large", tmp_path / "large.gguf", 32, 32, 16)
    assert large.options == ("--model", str(large.file))
    rates = {**dict.fromkeys(WAYS, 1.0), "Forge, no drafts": 2.1, "Forge": 9.0}
    found = compute.Compute(large, [computed(*way) for way in rates.items()], [], [])
    *_, batches = claims.of_compute(found)
    assert batches.holds
    assert "2.10 (2.10x)" in batches.seen
    rates["Forge, no drafts"] = 1.9
    slower = compute.Compute(large, [computed(*way) for way in rates.items()], [], [])
    *_, batches = claims.of_compute(slower)
    assert not batches.holds

    served = [order.Served(class_, 0.0, 4.0, 200) for class_ in ("urgent", "normal", "batch")]
    both = {"pool": served, "Forge": served}
    results = Results(None, None, found, ordered({"pool": 1.0, "Forge": 2.0}, 4.0, both))
    text = markdown(results, 0.5, "plot.png", options=" --model large")
    assert text.startswith("# Threads, event loop, processes: what each is good for, on large\n")
    assert "SIGSEGV" not in text
    assert found.way("Forge, no drafts").cpu_ms == pytest.approx(1900 / 2.1)
    assert text.count("\n## ") == 2
    draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_rates_of_the_built_in_client() -> None:
    found = Found(2.0, answered=6, unsure=4, refused=1, broken=2, waiting=3, p50=1.0, p99=2.0)
    assert found.rate == 5.0
    assert found.errors == 7


def test_requests_of_the_experiments_are_the_same_for_all() -> None:
    """Forge must compute all of the prompt, as the others do."""
    assert b'"cache_prompt": false' in body(8)
    assert b'"raw": true' in body(8)
    assert b"priority" not in body(8)
    assert b'"priority": "batch"' in body(8, "batch")
