"""The scope of a cache is its key's, or its group's, whatever a client sends as a salt."""

import re
from dataclasses import replace

from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.config.api_keys import digest
from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.cache_scope import cache_scope

SALTS = st.text(max_size=40)
GROUPS = st.none() | st.text("ab", min_size=1, max_size=4)
KEYS = st.builds(
    lambda secret, group: ApiKey(secret, digest(secret), cache_group=group),
    st.text("ab", min_size=1, max_size=4),
    GROUPS,
)


@given(KEYS | st.just(ANYONE), KEYS | st.just(ANYONE), SALTS, SALTS)
@example(ApiKey("x", b"x", cache_group="ab"), ApiKey("y", b"y", cache_group="a"), "", "b")
@example(ApiKey("x", digest("x"), cache_group="x"), ApiKey("x", digest("x")), "", "")
@example(ANYONE, ApiKey("x", digest("x")), "x", "")
def test_two_requests_share_if_group_or_key_and_salt_are_the_same(
    mine: ApiKey, yours: ApiKey, my_salt: str, your_salt: str
) -> None:
    shared = mine.cache_group == yours.cache_group and my_salt == your_salt
    if mine.cache_group is None:
        shared = shared and mine.digest == yours.digest
    assert (cache_scope(mine, my_salt) == cache_scope(yours, your_salt)) == shared


@given(KEYS, KEYS)
def test_a_client_that_knows_all_about_another_key_can_not_write_its_scope(
    mine: ApiKey, yours: ApiKey
) -> None:
    """The parts of the other's scope as a salt, raw or as text, and the scope itself."""
    mine, yours = replace(mine, cache_group=None), replace(yours, cache_group="team")
    assume(mine.digest != yours.digest)
    for other in (yours, replace(yours, cache_group=None)):
        theirs = cache_scope(other)
        parts = "group", "team", "key", other.digest.hex(), other.digest.decode("latin-1"), theirs
        assert theirs not in {cache_scope(mine, part) for part in parts}


@given(KEYS, SALTS)
def test_a_scope_is_a_short_word_that_tells_nothing(key: ApiKey, salt: str) -> None:
    scope = cache_scope(key, salt)
    assert re.fullmatch("[0-9a-f]{32}", scope)
    assert key.digest.hex() not in scope


def test_without_keys_there_is_one_scope_for_all_but_the_salted() -> None:
    assert cache_scope(ANYONE) == ""
    assert cache_scope(ANYONE, "a") != cache_scope(ANYONE, "b")


def test_it_outlives_the_process() -> None:
    """Prefixes that are kept on disk are found again after a restart."""
    key = ApiKey("app", digest("sk-app"))
    assert cache_scope(key) == "82c754f5891fdf6a07b9dc98fbe0e6ef"
    assert cache_scope(key, "ä") == "e26ae5309a805d921f1e884f7ca2fd37"
    assert cache_scope(replace(key, cache_group="team")) == "637c096c96b728d2ef7ca03a377c3539"
