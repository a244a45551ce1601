"""The runs of a batch's requests: what is asked again, what is given up, what is written."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.cli.batch import runner
from gateway.cli.batch.requests import LineRequest
from gateway.cli.batch.result_file import ResultFile
from gateway.cli.batch.runner import RequestRunner
from gateway.cli.chat.client import RequestFailed

Answer = Callable[[httpx2.Request, int], httpx2.Response]
"""Is told a request and how often its line was sent before."""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are noted, and over at once."""
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr("gateway.cli.batch.runner.asyncio.sleep", sleep)
    return pauses


def lines(count: int) -> list[LineRequest]:
    return [LineRequest(str(n), "/v1/x", json.dumps({"n": n}).encode()) for n in range(count)]


def ok(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, content=request.content, headers={"x-request-id": "r"})


def ran(
    folder: Path, answer: Answer, requests: Iterable[LineRequest], at_once: int = 3
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of both files after a run."""
    sent: Counter[bytes] = Counter()

    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["x-priority"] == "batch"
        before = sent[request.content]
        sent[request.content] += 1
        return answer(request, before)

    async def work() -> None:
        transport = httpx2.MockTransport(handle)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            made = RequestRunner(client, results, errors, "batch", lambda counts: None)
            await made.run(iter(requests), at_once)

    out, bad = folder / "out.jsonl", folder / "errors.jsonl"
    with ResultFile(out) as results, ResultFile(bad) as errors:
        asyncio.run(work())
    done, failed = ([json.loads(each) for each in f.read_text().splitlines()] for f in (out, bad))
    return done, failed


def test_each_line_has_its_result(tmp_path: Path) -> None:
    done, failed = ran(tmp_path, lambda request, _: ok(request), lines(100), 7)
    assert {each["custom_id"]: each["response"]["body"]["n"] for each in done} == {
        str(n): n for n in range(100)
    }
    assert {each["response"]["request_id"] for each in done} == {"r"}
    assert failed == []


@pytest.mark.parametrize("status", runner.BUSY)
def test_a_server_that_is_busy_is_asked_until_it_is_not(
    tmp_path: Path, status: int, no_pauses: list[float]
) -> None:
    def answer(request: httpx2.Request, before: int) -> httpx2.Response:
        dates = "Thu, 01 Dec 1994 16:00:00 GMT"
        later = {"retry-after": ("7", "0", "1e9", "nan", dates)[before % 5]}
        return ok(request) if before == 50 else httpx2.Response(status, headers=later)

    done, failed = ran(tmp_path, answer, lines(2))
    assert (len(done), failed) == (2, [])
    assert set(no_pauses) >= {7.0, runner.LEAST_S, runner.MOST_S}
    assert max(no_pauses) == runner.MOST_S


def test_a_server_that_stays_busy_is_given_up_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BUSY_S", -1)
    error = {"error": {"code": "rate_limited"}}
    done, failed = ran(tmp_path, lambda *_: httpx2.Response(429, json=error), lines(2))
    assert done == []
    assert [each["response"]["status_code"] for each in failed] == [429, 429]
    assert failed[0]["response"]["body"] == error


def test_an_empty_account_ends_the_run(tmp_path: Path, no_pauses: list[float]) -> None:
    """Waiting does not help, and each other line would fail likewise: they are left for later."""
    error = {"error": {"code": "insufficient_quota"}}

    def answer(request: httpx2.Request, before: int) -> httpx2.Response:
        empty = json.loads(request.content)["n"] > 1
        return httpx2.Response(429, json=error) if empty else ok(request)

    with pytest.raises(RequestFailed, match="used up"):
        ran(tmp_path, answer, lines(50))
    assert no_pauses == []
    assert (tmp_path / "errors.jsonl").read_bytes() == b""


@pytest.mark.parametrize("status", runner.BROKEN)
def test_a_failure_may_pass(tmp_path: Path, status: int) -> None:
    def answer(request: httpx2.Request, before: int) -> httpx2.Response:
        hopeless = json.loads(request.content)["n"] == 0
        fails = hopeless or before < runner.MOST_TRIES - 1
        return httpx2.Response(status, json={}) if fails else ok(request)

    done, failed = ran(tmp_path, answer, lines(2))
    assert [each["custom_id"] for each in done] == ["1"]
    assert [each["response"]["status_code"] for each in failed] == [status]


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422, 302, 204])
def test_other_answers_are_the_lines_own(tmp_path: Path, status: int) -> None:
    def answer(request: httpx2.Request, before: int) -> httpx2.Response:
        assert before == 0
        return httpx2.Response(status, json={"error": {"message": "no"}})

    done, failed = ran(tmp_path, answer, lines(1))
    assert done == []
    assert failed[0]["response"]["status_code"] == status


def test_an_answer_that_is_not_json_is_said(tmp_path: Path) -> None:
    def page(*_: Any) -> httpx2.Response:
        return httpx2.Response(200, text="<html>" + "x" * 10_000)

    _, failed = ran(tmp_path, page, lines(1))
    assert failed[0]["error"]["code"] == "not_json"
    assert len(failed[0]["error"]["message"]) < 3000


def test_a_wrong_key_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RequestFailed, match="another key"):
        ran(tmp_path, lambda *_: httpx2.Response(401, json={}), lines(10))


def test_a_connection_that_breaks_is_made_again(tmp_path: Path) -> None:
    def answer(request: httpx2.Request, before: int) -> httpx2.Response:
        hopeless = json.loads(request.content)["n"] == 0
        if hopeless or before < runner.MOST_TRIES - 1:
            raise httpx2.ReadError("gone")
        return ok(request)

    done, failed = ran(tmp_path, answer, lines(2))
    assert [each["custom_id"] for each in done] == ["1"]
    assert [(each["custom_id"], each["error"]["code"]) for each in failed] == [("0", "connection")]


def test_a_server_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    def answer(request: httpx2.Request, before: int) -> httpx2.Response:
        if before < 20:
            raise httpx2.ConnectError("refused")
        return ok(request)

    done, failed = ran(tmp_path, answer, lines(5))
    assert (len(done), failed) == (5, [])


def test_a_server_that_stays_away_ends_the_run_and_keeps_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GONE_S", -1)

    def answer(request: httpx2.Request, before: int) -> httpx2.Response:
        if json.loads(request.content)["n"] >= 5:
            raise httpx2.ConnectError("refused")
        return ok(request)

    with pytest.raises(RequestFailed, match="does not answer: refused"):
        ran(tmp_path, answer, lines(10), 1)
    with ResultFile(tmp_path / "out.jsonl") as results:
        assert len(results.ids) == 5
