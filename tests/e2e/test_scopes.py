"""A client can't find out how another key's prompts begin: on real workers, in all dialects."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_placement import placements, prefilled
from tests.support.dialects import CHAT, COMPLETIONS, DIALECTS, Dialect
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.shared_servers import SharedServers

ADMIN = "sk-admin-41c0ffee"
COUNT = 20 * len(DIALECTS)
"""Keys, of which each test takes new ones: what chats begin with is cached for a used one."""


def table(name: str, secret: str, group: str = "") -> str:
    shared = f'cache-group = "{group}"\n' if group else ""
    return f'[[key]]\nname = "{name}"\nkey = "{secret}"\n{shared}'


LONERS = [f"sk-alone-{n}" for n in range(COUNT)]
PAIRS = [(f"sk-left-{n}", f"sk-right-{n}") for n in range(COUNT)]
TABLES = [
    table("admin", ADMIN),
    *(table(secret, secret) for secret in LONERS),
    *(table(secret, secret, f"pair {n}") for n, pair in enumerate(PAIRS) for secret in pair),
]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """Two workers that may be killed, and many keys."""
    directory = tmp_path_factory.mktemp("keyed")
    file = directory / "keys.toml"
    file.write_text("\n".join(TABLES))
    file.chmod(0o600)
    shape = ("--workers", "2", "--slots", "4", "--threads", "1", "--api-key-file", str(file))
    with ForgeServer(directory, *shape, key=ADMIN).serving() as server:
        yield server


@pytest.fixture(scope="module")
def loners() -> Iterator[str]:
    """Keys that were never used."""
    return iter(LONERS)


@pytest.fixture(scope="module")
def pairs() -> Iterator[tuple[str, str]]:
    """Two keys of one group that were never used."""
    return iter(PAIRS)


@pytest.fixture(scope="module")
def http(keyed: ForgeServer) -> Iterator[httpx.Client]:
    """A client that shows no key by itself."""
    with httpx.Client(base_url=keyed.url, timeout=DEADLINE_S) as client:
        yield client


def long(about: str) -> str:
    return f"About {about}: " + "wolves live in packs, owls live alone. " * 15


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def asked(
    http: httpx.Client, secret: str, dialect: Dialect, prompt: str, **params: Any
) -> tuple[int, int]:
    """Return how many tokens of a prompt were cached, and how many were not."""
    usage = dialect.ask(http, prompt, bearer(secret), max_tokens=1, **params).usage
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return cached, usage["prompt_tokens"] - cached


@pytest.fixture(params=DIALECTS, ids=str)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


def test_another_key_is_spared_nothing(
    keyed: ForgeServer, http: httpx.Client, loners: Iterator[str], dialect: Dialect
) -> None:
    """Its prompt is computed, all of it, and its worker is chosen as if it were new."""
    prompt, mine, yours = long("keys"), next(loners), next(loners)
    cached, size = asked(http, mine, dialect, prompt)
    assert cached == 0
    for secret, spared, reason in ((yours, 0, "load"), (mine, size - 1, "prefix")):
        before, reasons = sum(prefilled(keyed)), placements(keyed)
        assert asked(http, secret, dialect, prompt) == (spared, size - spared)
        assert sum(prefilled(keyed)) - before == size - spared
        after = placements(keyed)
        assert [r for r in after if after[r] > reasons[r]] == [reason]


def test_keys_of_one_group_share(
    http: httpx.Client, loners: Iterator[str], pairs: Iterator[tuple[str, str]], dialect: Dialect
) -> None:
    prompt, (left, right) = long("groups"), next(pairs)
    cached, size = asked(http, left, dialect, prompt)
    assert cached == 0
    assert asked(http, right, dialect, prompt) == (size - 1, 1)
    assert asked(http, next(loners), dialect, prompt) == (0, size)
    assert asked(http, next(pairs)[0], dialect, prompt) == (0, size)


def test_a_salt_narrows_it(
    http: httpx.Client, loners: Iterator[str], pairs: Iterator[tuple[str, str]], dialect: Dialect
) -> None:
    prompt, (left, right) = long("salts"), next(pairs)
    cached, size = asked(http, left, dialect, prompt)
    assert cached == 0
    for salt in ("user 1", "user 2"):
        assert asked(http, left, dialect, prompt, cache_salt=salt) == (0, size)
        assert asked(http, right, dialect, prompt, cache_salt=salt) == (size - 1, 1)
    assert asked(http, next(loners), dialect, prompt, cache_salt="user 1") == (0, size)
    assert asked(http, left, dialect, prompt, cache_salt="") == (size - 1, 1)


def test_guesses_tell_nothing(http: httpx.Client, loners: Iterator[str], dialect: Dialect) -> None:
    """A prompt word by word, once by a client before it was ever sent, and once by one after."""
    words = f"{dialect.name}: my password is sun flower seven hill".split(" ")
    guesses = [" ".join(words[:end]) for end in range(1, len(words) + 1)]
    early, victim, late = (next(loners) for _ in range(3))
    before = [asked(http, early, dialect, guess) for guess in guesses]
    assert asked(http, victim, dialect, guesses[-1]) == (0, sum(before[-1]))
    assert [asked(http, late, dialect, guess) for guess in guesses] == before


def test_completions_of_one_request_share(
    keyed: ForgeServer, http: httpx.Client, loners: Iterator[str]
) -> None:
    """Whatever its scope, the prompt of them all is computed once, at one worker."""
    for salt in ("", "x"):
        before = sum(prefilled(keyed))
        params = {"n": 4, "max_tokens": 2, "temperature": 1, "cache_salt": salt}
        body = COMPLETIONS.body(long("choices"), **params)
        usage = http.post(COMPLETIONS.path, json=body, headers=bearer(next(loners))).json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == 0
        assert sum(prefilled(keyed)) - before == usage["prompt_tokens"] + 3


def test_a_generation_keeps_its_scope_when_its_worker_dies(
    keyed: ForgeServer, http: httpx.Client, loners: Iterator[str]
) -> None:
    """Where it goes on, its prompt is cached for its own key and salt alone."""
    prompt, mine, yours = long("failover"), next(loners), next(loners)
    params = {"ignore_eos": True, "max_tokens": 1500, "cache_salt": "s"}
    body = CHAT.body(prompt, stream=True, **params)
    with http.stream("POST", CHAT.path, json=body, headers=bearer(mine)) as response:
        lines = response.iter_lines()
        for _ in range(5):
            next(lines)
        (at,) = (n for n, worker in enumerate(keyed.workers()) if worker["busy"])
        computed = prefilled(keyed)[1 - at]
        os.kill(keyed.workers()[at]["pid"], signal.SIGKILL)
        eventually(lambda: prefilled(keyed)[1 - at] > computed + 100, "it goes on")
        assert asked(http, yours, CHAT, prompt, cache_salt="s")[0] == 0
        assert asked(http, mine, CHAT, prompt)[0] == 0
        assert asked(http, mine, CHAT, prompt, cache_salt="s")[1] == 1
    eventually(lambda: keyed.busy() == 0, "idle")
    eventually(lambda: all(w["state"] == "ready" for w in keyed.workers()), "two workers")


def test_what_is_on_the_disk_is_its_keys_alone(tmp_path: Path) -> None:
    """A restart begins warm for the key, and in its scope alone."""
    mine, yours = LONERS[:2]
    (file := tmp_path / "keys.toml").write_text(table("mine", mine) + table("yours", yours))
    file.chmod(0o600)
    shape = ("--workers", "1", "--slots", "2", "--threads", "1", "--api-key-file", str(file))
    home = {name: str(tmp_path / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
    prompt, spared = long("disks"), list[int]()
    for folder in ("first", "second"):
        options = (*shape, "--cache-disk", "50")
        with ForgeServer(tmp_path / folder, *options, env=home, key=mine).serving() as server:
            with server.client() as http:
                if folder == "second":
                    spared.append(asked(http, yours, CHAT, prompt)[0])
                    spared.append(asked(http, mine, CHAT, prompt, cache_salt="s")[0])
                spared.append(asked(http, mine, CHAT, prompt)[0])
            eventually(lambda: list(tmp_path.rglob("*.kv")), "it is written")
    first, *others, again = spared
    assert [first, *others] == [0, 0, 0]
    assert again > 100


def test_without_keys_all_share_but_salts(shared_servers: SharedServers) -> None:
    server = shared_servers("--workers", "2", "--slots", "4")
    prompt = long("open servers")
    with server.client() as http, server.client() as other:
        cached, computed = asked(http, "", CHAT, prompt)
        size = cached + computed
        assert cached < 10, "other tests' chats on this server began with the template's tokens"
        assert asked(other, "", CHAT, prompt) == (size - 1, 1)
        assert asked(other, "", CHAT, prompt, cache_salt="mine") == (0, size)
        assert asked(http, "", CHAT, prompt, cache_salt="mine") == (size - 1, 1)
