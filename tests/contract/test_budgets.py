"""Budgets in every dialect: refused when they are used up, in its words, until the period ends."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.batches import answers, pace
from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.contract.test_batch_keys import ended, send
from tests.support.dialects import CHAT, DIALECTS, Dialect
from tests.support.front import blocking_front
from tests.support.played_front import Front
from tests.support.server import ALIAS, eventually
from tests.support.stored_files import SetClock
from tests.support.ways import serving

EVENING = datetime(2026, 11, 30, 23, 0, tzinfo=UTC).timestamp()
HOUR = 3600
BUDGET = 4
"""Fewer tokens than two answers have, and more than one."""


def key(name: str, **rights: Any) -> ApiKey:
    return ApiKey(name, digest(f"sk-{name}"), **rights)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{name}"}


@pytest.fixture(scope="module")
def clock() -> SetClock:
    return SetClock(EVENING)


@pytest.fixture(scope="module")
def budgeted(clock: SetClock) -> Iterator[httpx.Client]:
    keys = [key(str(each), tokens_per_day=BUDGET) for each in DIALECTS]
    keys += [key("month", tokens_per_month=BUDGET, tokens_per_day=BUDGET), key("free")]
    with blocking_front(Config(alias=ALIAS), Keyring(keys), answers=True, clock=clock) as client:
        yield client


def spend(client: httpx.Client, dialect: Dialect, name: str) -> httpx.Response:
    """Ask until that is refused."""
    for _ in range(10):
        body = dialect.body(max_tokens=2)
        response = client.post(dialect.path, json=body, headers=bearer(name))
        if response.status_code != 200:
            return response
    raise AssertionError("it was never refused")


def test_a_budget_that_is_used_up(budgeted: httpx.Client, dialect: Dialect) -> None:
    response = spend(budgeted, dialect, str(dialect))
    failure = dialect.refusal(response)
    assert (failure.status, failure.code, failure.param) == (429, "insufficient_quota", None)
    assert f"{BUDGET} tokens per day" in failure.message
    assert "2026-12-01 00:00 UTC" in failure.message
    assert response.headers["retry-after"] == str(HOUR)
    if dialect.streams:
        body = dialect.body(max_tokens=2, stream=True)
        response = budgeted.post(dialect.path, json=body, headers=bearer(str(dialect)))
        assert dialect.refusal(response) == failure, "a stream is refused as a whole answer is"
    # Others, and what computes nothing, are not held up by it.
    dialect.ask(budgeted, headers=bearer("free"), max_tokens=2)
    assert budgeted.get("/v1/models", headers=bearer(str(dialect))).status_code == 200


def test_clients_are_told_that_no_other_try_helps(budgeted: httpx.Client) -> None:
    """OpenAI's and Anthropic's clients would try twice more at once: they heed this header."""
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
        dialect = next(each for each in DIALECTS if each.path == path)
        assert spend(budgeted, dialect, str(dialect)).headers["x-should-retry"] == "false"


def test_of_two_budgets_the_later_end_counts(budgeted: httpx.Client, clock: SetClock) -> None:
    clock.now = datetime(2026, 12, 10, tzinfo=UTC).timestamp()
    try:
        response = spend(budgeted, CHAT, "month")
        assert response.headers["retry-after"] == str(22 * 24 * HOUR)
        assert response.json()["error"]["type"] == "insufficient_quota"
        clock.now += 22 * 24 * HOUR
        CHAT.ask(budgeted, headers=bearer("month"), max_tokens=2)
    finally:
        clock.now = EVENING


@pytest.mark.anyio
async def test_a_stream_that_runs_is_not_ended(dialect: Dialect) -> None:
    """It is let in at the last token, comes to more, and ends well; the next one is refused."""
    async with serving(Front([key("app", tokens_per_day=1)])) as front:
        _, answer = await front.ask(dialect)
        assert answer.status_code == 200
        refused = await front.client.post(dialect.path, json=dialect.body())
        assert dialect.refusal(refused).code == "insufficient_quota"
        assert front.gateway.accounts.budgets.used("app")[0] > 1


def test_lines_of_a_batch_wait_for_the_next_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is lost, and none fails: a batch asks once a minute, here more often."""
    for module in (answers, pace):
        monkeypatch.setattr(module, "MOST_WAIT_S", 0.05)
    clock = SetClock(EVENING)
    config = Config(alias=ALIAS, data_dir=tmp_path / "data")
    keys = Keyring([ApiKey("app", digest("app"), tokens_per_day=1000)])
    with blocking_front(config, keys, answers=True, clock=clock) as front:
        front.headers["Authorization"] = "Bearer app"
        CHAT.ask(front, max_tokens=1000)
        id_ = send(front, "app", 40).json()["id"]
        eventually(lambda: refusals(front) > 5, "its lines are refused")
        batch = front.get(f"/v1/batches/{id_}").json()
        assert batch["status"] == "in_progress"
        assert batch["request_counts"] == {"total": 40, "completed": 0, "failed": 0}
        clock.now += HOUR
        batch = ended(front, "app", id_)
        assert batch["status"] == "completed"
        assert batch["request_counts"] == {"total": 40, "completed": 40, "failed": 0}


def refusals(front: httpx.Client) -> float:
    """Return how many requests were refused for a budget."""
    text = front.get("/metrics", headers={"Accept": "text/plain"}).text
    (line,) = (each for each in text.splitlines() if 'code="insufficient_quota"' in each)
    return float(line.rpartition(" ")[2])
