"""Limits per key: exact buckets on a clock that the test moves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.api_key import ApiKey
from gateway.core.clock import NANO
from gateway.core.errors import InvalidKey, RateLimited
from gateway.dispatch.job import Job
from gateway.dispatch.rate_limits import MINUTE_NS, Bucket, KeyQuota, RateLimiter, estimate
from gateway.dispatch.ticket import Ticket
from workers.protocol import Chat, GenerationParams, Sampling, Started, Text

PER_MINUTE = st.integers(1, 10**9)
STEP_NS = st.one_of(st.integers(0, 10), st.integers(0, 10**7), st.integers(0, 5 * MINUTE_NS))


class Clock:
    """Nanoseconds that only the test makes pass."""

    def __init__(self) -> None:
        self.now_ns = 123_456_789

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * NANO)


FIVE = GenerationParams(Sampling(1), max_tokens=5)


def job(prompt: str = "", max_tokens: int | None = 100, owner: str = "app") -> Job:
    params = GenerationParams(Sampling(1), max_tokens=max_tokens)
    return Job((Text(prompt),), params, 1.0, 0.0, owner=owner)


def ended(of: Job, prompt: int = 0, completion: int = 0) -> Ticket:
    """A ticket that used so many tokens; none at all means that it never started."""
    ticket = Ticket(1, of, 0)
    (sequence,) = ticket.sequences
    if prompt:
        sequence.started = Started(1, 1, prompt, 0)
    sequence.ids = [7] * completion
    return ticket


def refusal(allowance: KeyQuota) -> RateLimited | None:
    """Return what a request would be told now."""
    try:
        allowance.check()
    except RateLimited as error:
        return error
    return None


def key(**limits: Any) -> ApiKey:
    return ApiKey("app", b"", **limits)


# ------------------------------------------------------------------ one bucket


def test_a_bucket_begins_full_and_refills() -> None:
    bucket = Bucket(60, 0)
    assert bucket.level(0) == 60
    bucket.take(60, 0)
    assert (bucket.level(0), bucket.wait_ns(0)) == (0, NANO)
    assert (bucket.level(NANO - 1), bucket.wait_ns(NANO - 1)) == (0, 1)
    assert (bucket.level(NANO), bucket.wait_ns(NANO)) == (1, 0)
    assert bucket.level(MINUTE_NS - 1) == 59
    assert bucket.level(100 * MINUTE_NS) == 60


def test_a_debt_is_paid_before_anything_else() -> None:
    bucket = Bucket(60, 0)
    bucket.take(90, 0)
    assert (bucket.level(0), bucket.wait_ns(0)) == (-30, 31 * NANO)
    bucket.take(-1000, 0)
    assert bucket.level(0) == 60, "giving back never makes more than full"


@given(PER_MINUTE, st.lists(STEP_NS, min_size=1, max_size=50))
def test_never_more_than_the_rate_and_one_burst(per_minute: int, steps: list[int]) -> None:
    """A client that takes one whenever there is one gets burst + rate x time, and no less."""
    bucket, now, admitted = Bucket(per_minute, 0), 0, 0
    for step in steps:
        now += step
        got = bucket.level(now)
        bucket.take(got, now)
        admitted += got
        assert admitted <= per_minute + per_minute * now / MINUTE_NS
    # Exact, although it was asked at odd moments: nothing was lost to rounding.
    if max(steps) <= MINUTE_NS and steps[0] == 0:
        assert admitted == per_minute + per_minute * now // MINUTE_NS


@given(PER_MINUTE, st.integers(0, 10**10), st.integers(0, 10**18))
def test_the_wait_is_exact(per_minute: int, taken: int, now: int) -> None:
    bucket = Bucket(per_minute, now)
    bucket.take(taken, now)
    wait = bucket.wait_ns(now)
    if wait:
        assert bucket.level(now + wait - 1) < 1
    assert bucket.level(now + wait) >= 1


@given(st.integers(1, 1000), st.lists(st.tuples(STEP_NS, st.integers(-2000, 2000)), max_size=30))
def test_the_level_is_never_over_full(per_minute: int, moves: list[tuple[int, int]]) -> None:
    bucket, now = Bucket(per_minute, 0), 0
    for step, units in moves:
        now += step
        bucket.take(units, now)
        assert bucket.level(now) <= per_minute


# ------------------------------------------------------------------ the estimate


@pytest.mark.parametrize(
    ("of", "tokens"),
    [
        (job("x" * 400, 50), 150),
        (job("x" * 403, 50), 150),
        (job("ä" * 200, 50), 150),  # bytes, not characters
        (job("", None), 256),
        (job("x" * 40, 10**9), 10_000),  # no more than the whole bucket
    ],
)
def test_estimate(of: Job, tokens: int) -> None:
    assert estimate(of, 10_000) == tokens


def test_estimate_of_a_chat_counts_every_message() -> None:
    messages = [{"role": role, "content": "x" * 40} for role in ("system", "user", "assistant")]
    assert estimate(Job((Chat(messages),), FIVE, 1.0, 0.0), 10_000) == 35


def test_estimate_of_several_answers_counts_each_prompt_once() -> None:
    prompts = (Text("x" * 40), Text("x" * 80))
    assert estimate(Job(prompts, FIVE, 1.0, 0.0, n=3), 10_000) == 30 + 6 * 5


# ------------------------------------------------------------------ a key


def test_requests_per_minute() -> None:
    clock = Clock()
    allowance = KeyQuota(key(requests_per_minute=3), clock)
    for left in (2, 1, 0):
        allowance.check()
        allowance.take(job())
        assert allowance.headers()["x-ratelimit-remaining-requests"] == str(left)
    for _ in range(5):  # being refused costs nothing
        with pytest.raises(RateLimited, match="3 requests per minute") as caught:
            allowance.check()
        assert (caught.value.retry_after, caught.value.type) == (20, "requests")
    clock.sleep(20)
    allowance.check()
    allowance.take(job())
    with pytest.raises(RateLimited):
        allowance.check()


def test_the_end_of_a_request_gives_no_request_back() -> None:
    clock = Clock()
    allowance = KeyQuota(key(requests_per_minute=1), clock)
    allowance.take(job())
    allowance.settle(ended(job()))
    with pytest.raises(RateLimited):
        allowance.check()


def test_tokens_are_estimated_and_then_counted() -> None:
    clock = Clock()
    allowance = KeyQuota(key(tokens_per_minute=600), clock)

    def left() -> int:
        return int(allowance.headers()["x-ratelimit-remaining-tokens"])

    long = job("x" * 400, 100)
    allowance.take(long)
    assert left() == 400
    allowance.settle(ended(long, prompt=80, completion=20))
    assert left() == 500
    allowance.take(long)
    allowance.settle(ended(long))  # it never started
    assert left() == 500
    allowance.take(long)
    allowance.settle(ended(long, prompt=500, completion=300))
    assert left() == 0
    with pytest.raises(RateLimited, match="600 tokens per minute") as caught:
        allowance.check()
    # The debt of 300 and one more, at ten a second.
    assert (caught.value.retry_after, caught.value.type) == (31, "tokens")
    clock.sleep(31)
    allowance.check()


def test_the_longer_wait_counts() -> None:
    clock = Clock()
    allowance = KeyQuota(key(requests_per_minute=1, tokens_per_minute=60), clock)
    allowance.take(job(max_tokens=60))
    with pytest.raises(RateLimited) as caught:
        allowance.check()
    assert (caught.value.type, caught.value.retry_after) == ("requests", 60)
    clock.sleep(60)
    allowance.take(job(max_tokens=60))
    allowance.settle(ended(job(max_tokens=60), prompt=60, completion=120))
    with pytest.raises(RateLimited) as caught:
        allowance.check()
    assert (caught.value.type, caught.value.retry_after) == ("tokens", 121)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**7), st.integers(0, 10**9))
def test_who_comes_back_after_retry_after_is_let_in(
    requests: int, tokens: int, used: int, passed_ns: int
) -> None:
    clock = Clock()
    allowance = KeyQuota(key(requests_per_minute=requests, tokens_per_minute=tokens), clock)
    allowance.take(job())
    allowance.settle(ended(job(), prompt=used))
    clock.now_ns += passed_ns
    if refused := refusal(allowance):
        assert refused.retry_after is not None
        assert refused.retry_after >= 1
        clock.sleep(refused.retry_after)
    allowance.check()


def test_headers_only_for_what_is_limited() -> None:
    clock = Clock()
    assert KeyQuota(key(), clock).headers() == {}
    both = KeyQuota(key(requests_per_minute=5, tokens_per_minute=1000), clock)
    both.take(job("x" * 40, 90))
    assert both.headers() == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "900",
    }


# ------------------------------------------------------------------ all keys


def test_each_key_has_its_own_and_a_server_without_keys_none() -> None:
    clock = Clock()
    limits = RateLimiter([ApiKey(name, b"", requests_per_minute=1) for name in ("a", "b")], clock)
    limits.of("a").take(job(owner="a"))
    with pytest.raises(RateLimited):
        limits.of("a").check()
    limits.of("b").check()
    for _ in range(100):
        limits.of("").check()
        limits.of("").take(job(owner=""))
    assert limits.of("").headers() == {}


def test_limits_hear_of_the_end() -> None:
    clock = Clock()
    limits = RateLimiter([ApiKey("a", b"", tokens_per_minute=1000)], clock)
    of = job(max_tokens=500, owner="a")
    limits.of("a").take(of)
    limits.on_unparked(1.0)
    limits.on_end(ended(job(owner="")))
    limits.on_end(ended(of, prompt=30, completion=70))
    assert limits.of("a").headers()["x-ratelimit-remaining-tokens"] == "900"


def test_limits_of_keys_that_change() -> None:
    clock = Clock()
    limits = RateLimiter([ApiKey("a", b"", requests_per_minute=10), ApiKey("b", b"")], clock)
    for _ in range(4):
        limits.of("a").take_one()
    running = job(owner="b")
    limits.update([ApiKey("a", b"new", requests_per_minute=5, tokens_per_minute=100)])
    assert limits.of("a").headers() == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "100",
    }
    with pytest.raises(InvalidKey):
        limits.of("b")
    limits.on_end(ended(running, prompt=30))
    limits.update([ApiKey("a", b"new")])
    assert limits.of("a").headers() == {}


def test_an_estimate_alone_locks_out_for_a_minute_at_most() -> None:
    allowance = KeyQuota(key(tokens_per_minute=1), Clock())
    allowance.take(job(max_tokens=2**31 - 1))
    refused = refusal(allowance)
    assert refused is not None
    assert refused.retry_after == 60
