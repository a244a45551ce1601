"""Reloads one after the other, on models in memory: order, errors, signals and the end."""

import asyncio
import logging
import threading
from dataclasses import dataclass, field

import pytest

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config, ConfigError
from gateway.config.live_config import LiveConfig
from gateway.config.model_entry import ModelEntry
from gateway.core.api_key import ApiKey
from gateway.core.errors import ReloadBusy, ReloadRefused, Unavailable
from gateway.pool import PoolFailed
from gateway.reloading.reloader import Reloader, aside
from gateway.reloading.report import Change
from gateway.served.setup import Setup

pytestmark = pytest.mark.anyio
KEY, OTHER = (ApiKey(name, digest(name)) for name in ("one", "other"))


def setup(*models: str, keys: tuple[ApiKey, ...] = (KEY,), **options: object) -> Setup:
    entries = tuple(ModelEntry(Config(alias=name)) for name in models)
    return Setup(Config(**options), entries, keys)


@dataclass
class Models:
    """Implements :class:`gateway.reloading.reloader.ReloadedModels`."""

    there: list[str]
    several: bool = True
    broken: str = ""
    log: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def names(self) -> list[str]:
        return self.there

    async def change(
        self, name: str, entry: ModelEntry, *, shares: bool
    ) -> tuple[Change, str | None]:
        await self.go.wait()
        self.log.append(f"change {name}")
        if name == self.broken:
            raise PoolFailed("the file is damaged")
        return "replaced", "new ctx"

    async def add(self, entry: ModelEntry) -> None:
        self.log.append(f"add {entry.name}")
        if entry.name == self.broken:
            raise ConfigError("it needs too much")

    def waiting(self) -> str | None:
        return None if self.go.is_set() else "m: 1 request has its old workers still"

    def retire(self, name: str) -> None:
        self.log.append(f"retire {name}")

    def arrange(self, names: list[str]) -> None:
        self.log.append(f"arrange {' '.join(names)}")

    def bound(self, requests: int, size: int) -> None:
        self.log.append(f"bound {requests}")
        self.begun.set()


@dataclass
class Desk:
    found: Setup | Exception
    models: Models
    draining: bool = False

    def __post_init__(self) -> None:
        self.reads = 0
        self.live, self.keyring = LiveConfig(Config()), Keyring([KEY])
        self.reloader = Reloader(
            self.read, self.live, self.keyring, self.models, lambda: self.draining
        )
        self.reloader.ready()
        self.models.go.set()

    def read(self) -> Setup:
        self.reads += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


async def test_all_that_is_different_in_order() -> None:
    desk = Desk(setup("b", "new", keys=(KEY, OTHER), max_queue=7, port=1), Models(["a", "b"]))
    desk.reloader.begin()
    assert desk.reloader.report["state"] == "running"
    report = await desk.reloader.wait()
    assert desk.models.log == ["bound 7", "add new", "change b", "retire a", "arrange b new"]
    assert (report["state"], report["keys"]) == ("done", True)
    assert (report["options"], report["restart"]) == (["max-queue"], ["port"])
    assert [(each["model"], each["change"]) for each in report["models"]] == [
        ("new", "added"), ("b", "replaced"), ("a", "retired"),
    ]  # fmt: skip
    assert desk.live.now.max_queue == 7
    assert desk.live.now.port == 8080
    assert desk.keyring.named("other") is not None


@pytest.mark.parametrize("keys", [(KEY,), ()])
async def test_an_error_changes_nothing(
    keys: tuple[ApiKey, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the options, and one that shows itself when keys are taken."""
    error = ConfigError("ctx in forge.toml: expected a number")
    found = setup("a", keys=(), max_queue=7) if not keys else error
    desk = Desk(found, Models(["a"]))
    with caplog.at_level(logging.INFO, "forge.reload"):
        desk.reloader.begin()
        report = await desk.reloader.wait()
    assert report["state"] == "refused"
    assert str(report["error"]).startswith("ctx in forge.toml" if keys else "--api-key-file")
    assert desk.models.log == []
    assert desk.live.now == Config()
    assert list(desk.keyring) == [KEY]
    assert "nothing was changed: " in caplog.text


async def test_a_model_that_fails_leaves_the_others() -> None:
    desk = Desk(setup("a", "b", "new"), Models(["a", "b"], broken="a"))
    desk.reloader.begin()
    report = await desk.reloader.wait()
    told = {each["model"]: (each["change"], each["reason"]) for each in report["models"]}
    assert told == {
        "new": ("added", None),
        "a": ("failed", "the file is damaged"),
        "b": ("replaced", "new ctx"),
    }


async def test_a_bug_ends_one_reload_and_not_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """It would seem to run for ever, to clients and to the service manager."""
    desk, told = Desk(RuntimeError("a secret"), Models(["a"])), list[str]()
    desk.reloader.tells(lambda: told.append("begun"), told.append)
    desk.reloader.begin()
    report = await desk.reloader.wait()
    assert (report["state"], desk.reloader.running) == ("failed", False)
    assert "secret" not in str(report["error"])
    assert told == ["begun", "it broke off: an internal error, which the log has"]
    assert "a secret" in caplog.text
    desk.found = setup("a")
    desk.reloader.begin()
    assert (await desk.reloader.wait())["state"] == "done"


async def test_one_model_alone_changes_nothing_else() -> None:
    desk = Desk(setup("a", "b", keys=(OTHER,), max_queue=7), Models(["a", "b"]))
    desk.reloader.begin("b")
    report = await desk.reloader.wait()
    assert desk.models.log == ["change b"]
    assert list(desk.keyring) == [KEY]
    assert (report["options"], report["restart"], report["keys"]) == ([], [], False)
    desk.reloader.begin("nobody")
    assert "'nobody' is no configured model" in str((await desk.reloader.wait())["error"])


async def test_tables_where_there_were_none_need_a_restart() -> None:
    desk = Desk(setup("a"), Models(["forge-tiny"], several=False))
    desk.reloader.begin()
    report = await desk.reloader.wait()
    assert (report["restart"], report["models"]) == (["models"], [])


async def test_one_at_a_time_and_signals_are_remembered_once() -> None:
    desk = Desk(setup("a"), Models(["a"]))
    desk.models.go.clear()
    told = list[str]()
    desk.reloader.tells(lambda: told.append("begun"), told.append)
    desk.reloader.begin()
    with pytest.raises(ReloadBusy):
        desk.reloader.begin()
    for _ in range(3):
        desk.reloader.signalled()
    desk.models.go.set()
    await desk.reloader.wait()
    assert desk.reads == 2
    assert told == ["begun", "a replaced (new ctx)"]


async def test_a_signal_before_the_server_has_started() -> None:
    desk = Desk(setup("a"), Models(["a"]))
    early = Reloader(desk.read, desk.live, desk.keyring, desk.models, lambda: False)
    early.signalled()
    with pytest.raises(Unavailable, match="starting"):
        early.begin()
    assert desk.reads == 0
    early.ready()
    await early.wait()
    assert desk.reads == 1


async def test_none_at_the_end_and_none_without_sources() -> None:
    desk = Desk(setup("a"), Models(["a"]))
    desk.draining = True
    with pytest.raises(Unavailable, match="shutting down"):
        desk.reloader.begin()
    desk.reloader.signalled()
    assert not desk.reloader.running
    bare = Reloader(None, desk.live, desk.keyring, desk.models, lambda: False)
    bare.ready()
    with pytest.raises(ReloadRefused):
        bare.begin()


async def test_the_end_gives_up_the_one_that_runs() -> None:
    desk = Desk(setup("a"), Models(["a"]))
    desk.models.go.clear()
    desk.reloader.begin()
    desk.reloader.signalled()
    await desk.models.begun.wait()
    await desk.reloader.stop()
    assert not desk.reloader.running
    assert desk.models.log == ["bound 1000"], "neither the model nor what the signal asked for"


async def test_what_blocks_blocks_nothing() -> None:
    go = threading.Event()

    def work() -> str:
        go.wait()
        return "done"

    task = asyncio.create_task(aside(work))
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    assert await task == "done"
    with pytest.raises(ConfigError):
        await aside(Desk(ConfigError("no"), Models([])).read)
