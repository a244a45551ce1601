"""A ring whose keys change while the server runs: two sides, each replaced in one step."""

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import ConfigError
from gateway.core.api_key import ApiKey
from tests.support.dialects import CHAT, INFER
from tests.support.played_front import Front


def key(name: str, secret: str | None = None, **rights: Any) -> ApiKey:
    return ApiKey(name, digest(secret or f"sk-{name}"), **rights)


def names(ring: Keyring) -> list[str]:
    return [each.name for each in ring]


def test_the_operators_keys_are_replaced_as_a_whole() -> None:
    ring = Keyring([key("a"), key("b")])
    ring.replace([key("b", "sk-new"), key("c")])
    assert names(ring) == ["b", "c"]
    assert ring.find("sk-a") is None
    assert ring.find("sk-b") is None
    assert ring.find("sk-new") == key("b", "sk-new")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([key("a"), key("a", "sk-other")], "two keys have the name 'a'"),
        ([key("a", "sk-same"), key("b", "sk-same")], "the keys 'a' and 'b' are the same"),
        ([], "would be open to all"),
    ],
)
def test_a_bad_change_changes_nothing(keys: list[ApiKey], reason: str) -> None:
    ring = Keyring([key("old")])
    told = list[int]()
    ring.on_change(lambda: told.append(1))
    with pytest.raises(ConfigError, match=reason):
        ring.replace(keys)
    assert names(ring) == ["old"]
    assert not told


def test_the_operators_key_wins_where_both_sides_have_a_name_or_a_secret() -> None:
    ring = Keyring([key("a"), key("b")])
    ring.replace_stored([key("a", "sk-stored"), key("c", "sk-b"), key("d")], closed=True)
    assert names(ring) == ["a", "b", "d"]
    assert ring.find("sk-stored") is None
    ring.replace([key("b")])
    assert names(ring) == ["b", "a", "d"], "what gave way is there again"
    assert ring.find("sk-stored") == key("a", "sk-stored")


def test_an_open_server_is_not_closed_by_the_operators_side() -> None:
    ring = Keyring()
    with pytest.raises(ConfigError, match="a restart gives it keys"):
        ring.replace([key("a")])
    assert ring.open


def test_a_server_whose_last_key_goes_does_not_open() -> None:
    ring = Keyring()
    ring.replace_stored([key("a")], closed=True)
    assert not ring.open
    ring.replace_stored([], closed=True)
    assert not ring.open
    assert ring.named("") is None


def test_a_store_that_never_had_a_key_leaves_an_open_server_open() -> None:
    ring = Keyring()
    ring.replace_stored([], closed=False)
    assert ring.open


class Ring(RuleBasedStateMachine):
    """Against a model that keeps both sides as tables."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Keyring([ApiKey("a", b"a")])
        self.given, self.stored = {"a": b"a"}, dict[str, bytes]()
        self.changes = self.heard = 0
        self.ring.on_change(self._hear)

    def _hear(self) -> None:
        self.heard += 1

    keys = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([b"a", b"b", b"c"]))

    @rule(keys=keys)
    def replace(self, keys: dict[str, bytes]) -> None:
        stays_closed = keys or self.stored or not self.given
        good = len({*keys.values()}) == len(keys) and stays_closed
        try:
            self.ring.replace(ApiKey(*item) for item in keys.items())
        except ConfigError:
            assert not good
            return
        assert good
        self.given, self.changes = keys, self.changes + 1

    @rule(keys=keys)
    def replace_stored(self, keys: dict[str, bytes]) -> None:
        self.ring.replace_stored([ApiKey(*item) for item in keys.items()], closed=True)
        self.stored, self.changes = keys, self.changes + 1

    @invariant()
    def the_ring_is_the_union(self) -> None:
        secrets = {*self.given.values()}
        more = {
            name: secret
            for name, secret in self.stored.items()
            if name not in self.given and secret not in secrets
        }
        assert {each.name: each.digest for each in self.ring} == self.given | more
        assert not self.ring.open
        assert self.heard == self.changes


TestRing = Ring.TestCase


def test_a_revoked_key_ends_for_new_requests_and_its_running_ones_end_well() -> None:
    async def run() -> None:
        front = Front([key("app"), key("other")])
        await front.gateway.start()
        ring = front.gateway.keyring
        asking = asyncio.create_task(front.client.post(CHAT.path, json=CHAT.body()))
        id_ = await front.running()
        ring.replace([key("other")])
        refused = await front.client.post(CHAT.path, json=CHAT.body())
        assert (refused.status_code, CHAT.refusal(refused).code) == (401, "invalid_api_key")
        front.pool.begin(id_)
        front.pool.progress(id_)
        front.pool.finish(id_)
        assert (await asking).status_code == 200
        ring.replace([key("app"), key("other")])
        asking = asyncio.create_task(front.client.post(INFER.path, json=INFER.body()))
        id_ = await front.running()
        front.pool.begin(id_)
        front.pool.finish(id_)
        assert (await asking).status_code == 200
        await front.gateway.stop()

    asyncio.run(run())


def test_a_key_that_stays_keeps_what_it_used() -> None:
    async def run() -> None:
        front = Front([key("app", requests_per_minute=2), key("other")])
        await front.gateway.start()
        await front.ask(CHAT)
        front.gateway.keyring.replace([key("app", requests_per_minute=3)])
        _, answer = await front.ask(CHAT)
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-remaining-requests"] == "1"
        await front.gateway.stop()

    asyncio.run(run())
