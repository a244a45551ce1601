"""Ways to say priority, and what every answer tells about its request."""

from typing import Any

import httpx
import pytest

from tests.support.dialects import CHAT, COMPLETIONS, INFER, Dialect

SHORT: dict[str, Any] = {"max_tokens": 1}


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        (None, "1"),
        (0, "0"),
        (2, "2"),
        (1.5, "1.5"),
        (-3, "-3"),
        (100000, "100000"),
        ("batch", "0"),
        ("normal", "1"),
        ("urgent", "2"),
        ("Urgent", "2"),
    ],
)
def test_in_the_body(answering: httpx.Client, dialect: Dialect, given: Any, echoed: str) -> None:
    answer = dialect.ask(answering, priority=given, **SHORT)
    assert answer.headers["x-priority"] == echoed
    if dialect is INFER:
        assert answer.body["priority"] == float(echoed)


@pytest.mark.parametrize("given", [123456789, 1.23456789])
def test_the_echo_is_exact(answering: httpx.Client, dialect: Dialect, given: float) -> None:
    answer = dialect.ask(answering, priority=given, **SHORT)
    assert float(answer.headers["x-priority"]) == given


@pytest.mark.parametrize(
    ("given", "echoed"), [("2", "2"), ("0.5", "0.5"), ("-1", "-1"), ("urgent", "2")]
)
def test_in_the_header(answering: httpx.Client, dialect: Dialect, given: str, echoed: str) -> None:
    answer = dialect.ask(answering, headers={"X-Priority": given}, **SHORT)
    assert answer.headers["x-priority"] == echoed


@pytest.mark.parametrize("given", ["soon", "", "nan", "inf", "-1e999"])
def test_bad_header(front: httpx.Client, dialect: Dialect, given: str) -> None:
    body = dialect.body(**SHORT)
    failure = dialect.refusal(front.post(dialect.path, json=body, headers={"X-Priority": given}))
    assert (failure.status, failure.param) == (400, "X-Priority")


TIERS = [("flex", "0"), ("default", "1"), ("auto", "1"), ("priority", "2")]


@pytest.mark.parametrize(("tier", "echoed"), TIERS)
def test_service_tier(answering: httpx.Client, streaming: Dialect, tier: str, echoed: str) -> None:
    answer = streaming.ask(answering, service_tier=tier, **SHORT)
    assert answer.headers["x-priority"] == echoed


@pytest.mark.parametrize(("tier", "_"), TIERS)
def test_chat_tells_the_tier_used(answering: httpx.Client, tier: str, _: str) -> None:
    used = "default" if tier == "auto" else tier
    assert CHAT.ask(answering, service_tier=tier, **SHORT).body["service_tier"] == used
    chunks = CHAT.stream(answering, service_tier=tier, **SHORT)
    assert {chunk["service_tier"] for chunk in chunks} == {used}


def test_no_tier_where_none_was_asked(answering: httpx.Client) -> None:
    assert "service_tier" not in CHAT.ask(answering, **SHORT).body
    assert "service_tier" not in COMPLETIONS.ask(answering, service_tier="flex", **SHORT).body


def test_the_body_wins_over_the_header(answering: httpx.Client, dialect: Dialect) -> None:
    answer = dialect.ask(answering, priority=0, headers={"X-Priority": "7"}, **SHORT)
    assert answer.headers["x-priority"] == "0"


def test_the_header_wins_over_the_tier(answering: httpx.Client, streamed: Dialect) -> None:
    answer = streamed.ask(answering, headers={"X-Priority": "7"}, service_tier="flex", **SHORT)
    assert answer.headers["x-priority"] == "7"


def test_streams_have_the_same_headers(answering: httpx.Client, streamed: Dialect) -> None:
    body = streamed.body(stream=True, priority="urgent", seed=-5, **SHORT)
    response = answering.post(streamed.path, json=body)
    assert response.headers["x-priority"] == "2"
    assert response.headers["x-seed"] == "-5"
    assert (response.headers["x-request-id"] in response.text) == streamed.named


@pytest.mark.parametrize("seed", [0, 42, -2, 2**63 - 1, -(2**63)])
def test_the_seed_is_echoed(answering: httpx.Client, dialect: Dialect, seed: int) -> None:
    answer = dialect.ask(answering, seed=seed, **SHORT)
    assert answer.headers["x-seed"] == str(seed)
    if dialect is INFER:
        assert answer.body["seed"] == seed


def test_a_seed_is_chosen(answering: httpx.Client, dialect: Dialect) -> None:
    seeds = {int(dialect.ask(answering, **SHORT).headers["x-seed"]) for _ in range(3)}
    assert len(seeds) == 3


def test_request_ids_are_unique(answering: httpx.Client, dialect: Dialect) -> None:
    first, second = dialect.ask(answering, **SHORT), dialect.ask(answering, **SHORT)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert not dialect.named or first.body["id"].endswith(first.headers["x-request-id"])
