"""Requests and tokens per minute for each key: two buckets that refill all the time.

What a request will cost is not known when it comes. It is let in while there is anything in its
key's buckets, an estimate is taken from them, and corrected at the end with what was really used;
so the level of tokens may fall below zero, and the next requests wait until the debt is paid.

Pure: the clock is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.clock import NANO
from gateway.core.errors import ForgeError, InvalidKey, RateLimited
from gateway.core.prompt_size import BYTES_PER_TOKEN, usual_bytes
from gateway.dispatch.budgets import Budgets
from gateway.dispatch.job import Job

if TYPE_CHECKING:
    from gateway.dispatch.ticket import Ticket

REQUESTS, TOKENS = "requests", "tokens"
MINUTE_NS = 60 * NANO
USUAL_ANSWER = 256
"""Tokens to expect of each answer of a request that sets no limit."""


class Bucket:
    """Holds ``per_minute`` units at most, begins full, and gains that many a minute.

    Exact: the level is an integer that counts parts of a unit so small that each nanosecond
    brings ``per_minute`` of them.
    """

    def __init__(self, per_minute: int, now_ns: int) -> None:
        self.per_minute = per_minute
        self._full = per_minute * MINUTE_NS
        self._level = self._full
        self._at_ns = now_ns

    def level(self, now_ns: int) -> int:
        """Whole units; below zero there is a debt."""
        self._refill(now_ns)
        return self._level // MINUTE_NS

    def take(self, units: int, now_ns: int) -> None:
        """Take ``units``, whether they are there or not; a negative number gives some back."""
        self._refill(now_ns)
        self._level = min(self._full, self._level - units * MINUTE_NS)

    def wait_ns(self, now_ns: int) -> int:
        """Nanoseconds until there is one unit; 0 if there is one now."""
        self._refill(now_ns)
        return max(0, -((self._level - MINUTE_NS) // self.per_minute))

    def _refill(self, now_ns: int) -> None:
        self._level = min(self._full, self._level + (now_ns - self._at_ns) * self.per_minute)
        self._at_ns = now_ns


class KeyQuota:
    """The remaining quota of one key. Without limits nothing is refused and nothing is counted."""

    def __init__(
        self,
        key: ApiKey,
        clock_ns: Callable[[], int],
        check_budget: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``check_budget`` raises BudgetUsedUp for a key's name."""
        self._clock_ns = clock_ns
        self._name, self._check_budget = key.name, check_budget
        self._buckets: dict[str, Bucket] = {}
        self.limit(key)

    def limit(self, key: ApiKey) -> None:
        """Take the limits of ``key``, which may be others than before.

        What was used counts under the new ones, too: a key gets no full bucket by being changed.
        """
        now = self._clock_ns()
        limits = {REQUESTS: key.requests_per_minute, TOKENS: key.tokens_per_minute}
        self._buckets = {
            kind: self._bucket(kind, limit, now)
            for kind, limit in limits.items()
            if limit is not None
        }

    def _bucket(self, kind: str, limit: int, now: int) -> Bucket:
        old = self._buckets.get(kind)
        if old is not None and old.per_minute == limit:
            return old
        bucket = Bucket(limit, now)
        if old is not None:
            bucket.take(old.per_minute - old.level(now), now)
        return bucket

    def check(self) -> None:
        """Raises :class:`RateLimited` while a bucket is empty, or BudgetUsedUp; takes nothing."""
        self._check_budget(self._name)
        now = self._clock_ns()
        waits = {kind: bucket.wait_ns(now) for kind, bucket in self._buckets.items()}
        kind = max(waits, key=waits.__getitem__, default=None)
        if kind is not None and waits[kind]:
            limit = self._buckets[kind].per_minute
            raise RateLimited(
                f"this key may use {limit} {kind} per minute",
                kind=kind,
                retry_after=math.ceil(waits[kind] / NANO),
            )

    def take_one(self) -> None:
        """A request without a job was let in."""
        if requests := self._buckets.get(REQUESTS):
            requests.take(1, self._clock_ns())

    def take(self, job: Job) -> None:
        """A request was let in."""
        self.take_one()
        now = self._clock_ns()
        if tokens := self._buckets.get(TOKENS):
            tokens.take(estimate(job, tokens.per_minute), now)

    def settle(self, ticket: Ticket) -> None:
        """A request that was let in has ended: its estimate gives way to what it used."""
        if tokens := self._buckets.get(TOKENS):
            used = ticket.usage.prompt + ticket.usage.completion
            tokens.take(used - estimate(ticket.job, tokens.per_minute), self._clock_ns())

    def headers(self) -> dict[str, str]:
        """The limits and what is left of them, under OpenAI's names."""
        now, fields = self._clock_ns(), dict[str, str]()
        for kind, bucket in self._buckets.items():
            fields[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
            fields[f"x-ratelimit-remaining-{kind}"] = str(max(0, bucket.level(now)))
        return fields


class RateLimiter:
    """The allowances of all keys. Implements :class:`gateway.dispatch.observer.Observer`."""

    def __init__(
        self, keys: Iterable[ApiKey], clock_ns: Callable[[], int], budgets: Budgets | None = None
    ) -> None:
        """``budgets``: of a day and a month, which refuse by :meth:`KeyQuota.check`, too."""
        self._clock_ns = clock_ns
        self._budgets = budgets or Budgets((), lambda: clock_ns() / NANO)
        self._quotas: dict[str, KeyQuota] = {}
        self.update(keys)

    def update(self, keys: Iterable[ApiKey]) -> None:
        """Take these keys instead of those before; one whose name stays keeps what it used."""
        keys = tuple(keys)
        self._budgets.update(keys)
        before = self._quotas
        self._quotas = {}
        for key in (ANYONE, *keys):
            quota = before.get(key.name)
            if quota is None:
                quota = KeyQuota(key, self._clock_ns, self._budgets.check)
            else:
                quota.limit(key)
            self._quotas[key.name] = quota

    def of(self, owner: str) -> KeyQuota:
        """The quota of the key with this name; "" is a server without keys.

        Raises :class:`InvalidKey` for a key that was revoked while its request came.
        """
        quota = self._quotas.get(owner)
        if quota is None:
            raise InvalidKey("this API key was revoked")
        return quota

    def began(self, ticket: Ticket) -> None:
        """A request was let in."""
        quota = self._quotas.get(ticket.job.owner)
        if quota is not None:
            quota.take(ticket.job)
        self._budgets.began(ticket)

    def on_end(self, ticket: Ticket) -> None:
        quota = self._quotas.get(ticket.job.owner)
        if quota is not None:  # else the key was revoked while this ran
            quota.settle(ticket)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """Nothing was taken."""

    def on_violation(self, what: str) -> None:
        """Implements :class:`gateway.dispatch.observer.Observer`; nothing to do with limits."""

    def on_unparked(self, seconds: float) -> None:
        """A pause uses nothing."""


def estimate(job: Job, most: int) -> int:
    """Tokens to expect of a request, ``most`` at most: what a client allows is no forecast, and
    must not lock its key out for longer than a minute.

    A function of the job, so that the result need not be kept until the end.
    """
    prompt = sum(map(usual_bytes, job.prompts)) // BYTES_PER_TOKEN
    answers = len(job.prompts) * job.n * (job.params.max_tokens or USUAL_ANSWER)
    return min(most, prompt + answers if job.params.generates else prompt)
