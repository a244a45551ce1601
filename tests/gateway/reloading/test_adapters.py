"""Adapters are reloaded as all else is: they come, go and change, and the workers stay."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.served.served_model import ServedModel
from gateway.served.setup import Setup
from tests.gateway.reloading.test_gateway_reload import House
from tests.support.adapters import random_lora

pytestmark = pytest.mark.anyio


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        name: random_lora(EMBEDDED_MODEL, seed).write(tmp_path / f"{name}.gguf")
        for seed, name in enumerate(("legal", "medical", "late"))
    }


@pytest.fixture
async def house(files: dict[str, Path]) -> AsyncIterator[House]:
    house = House(said(adapters=f"a={files['legal']},b={files['medical']}"))
    async with house.serving():
        yield house


def said(**options: Any) -> Setup:
    """Return what sources with these options say, checked as those of a file are."""
    return Setup(Config(**{"model": EMBEDDED_MODEL, "alias": "m", "ctx": 512, **options}), (), ())


def say(house: House, **options: Any) -> None:
    """Let the sources say other options."""
    house.setup = said(**options)


def base(house: House) -> ServedModel:
    return house.gateway.registry.first


def names(house: House) -> list[str]:
    assert [each.name for each in house.gateway.registry.adapted] == [
        each.name for each in base(house).adapters
    ]
    return [each.name for each in base(house).adapters]


async def test_they_come_go_and_change(house: House, files: dict[str, Path]) -> None:
    (pool,) = house.pools
    before = {each.name: each.digest for each in base(house).adapters}
    assert names(house) == ["a", "b"]
    say(house, adapters=f"a={files['legal']},c={files['late']}", lora=str(files["medical"]))
    report = await house.reload()
    assert report["models"] == [{"model": "m", "change": "settings", "reason": "new adapters"}]
    assert sorted(names(house)) == ["a", "c", "medical"]
    assert {each.digest for each in pool.adapters} == {each.digest for each in base(house).adapters}
    usual = base(house).adapters.get("medical")
    assert usual is not None
    assert usual.usual == 1.0
    assert len(house.pools) == 1, "the workers stay"
    assert (await house.reload())["models"][0]["change"] == "unchanged"
    replaced = files["legal"].with_suffix(".new")
    os.link(files["late"], replaced)
    replaced.replace(files["legal"])
    assert (await house.reload())["models"][0]["reason"] == "new adapters"
    changed = base(house).adapters.get("a")
    assert changed is not None
    assert changed.digest != before["a"], "the name has another file"
    say(house)
    assert (await house.reload())["models"][0]["reason"] == "new adapters"
    assert names(house) == []
    assert pool.adapters == ()


async def test_what_is_wrong_leaves_all_as_it_was(house: House, files: dict[str, Path]) -> None:
    had = [(each.name, each.digest) for each in base(house).adapters]
    for wrong, words in (
        (f"a={files['legal']},c=/nowhere.gguf", "can't read /nowhere.gguf"),
        (f"m={files['legal']}", "'m' names two of the models and adapters"),
    ):
        say(house, adapters=wrong)
        report = await house.reload()
        assert report["models"][0]["change"] == "failed"
        assert words in (report["models"][0]["reason"] or "")
        assert [(each.name, each.digest) for each in base(house).adapters] == had
    house.pools[0].refusal = "out of memory"
    say(house, adapters=f"c={files['late']}")
    report = await house.reload()
    assert "out of memory" in (report["models"][0]["reason"] or "")
    assert [(each.name, each.digest) for each in base(house).adapters] == had
    house.pools[0].refusal = None
    assert (await house.reload())["models"][0]["reason"] == "new adapters"
    assert names(house) == ["c"]


async def test_a_request_keeps_its_own_to_its_end(house: House, files: dict[str, Path]) -> None:
    (pool,) = house.pools
    adapter = base(house).adapters.get("a")
    assert adapter is not None
    asking = base(house).adapters
    ticket = house.submit(adapters=((adapter.digest, 1.0),))
    asking.use(((adapter.digest, 1.0),))
    await house.running(pool, ticket)
    say(house, adapters=f"b={files['medical']}")
    assert (await house.reload())["models"][0]["reason"] == "new adapters"
    assert names(house) == ["b"]
    assert adapter.digest in {each.digest for each in pool.adapters}, "a request needs it"
    pool.finish(ticket.id)


async def test_with_new_workers(house: House, files: dict[str, Path]) -> None:
    """These have what the sources say now; what can't be used is told, and nothing is changed."""
    say(house, ctx=1024, adapters=f"c={files['late']}")
    report = await house.reload()
    assert report["models"] == [
        {"model": "m", "change": "replaced", "reason": "new ctx; new adapters"}
    ]
    assert names(house) == ["c"]
    assert {each.digest for each in house.pools[1].adapters} == {
        each.digest for each in base(house).adapters
    }
    say(house, ctx=512, adapters="c=/nowhere.gguf")
    report = await house.reload()
    assert report["models"][0]["change"] == "failed"
    assert "can't read /nowhere.gguf" in (report["models"][0]["reason"] or "")
    assert len(house.pools) == 2, "no new workers"
    assert names(house) == ["c"]
