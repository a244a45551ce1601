"""The model that a name means."""

from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.served.copied_names import CopiedNames
from gateway.served.registry import MOST_NAMED, ModelRegistry
from gateway.served.served_model import ServedModel
from tests.support.desk import Desk


def served(name: str, *aliases: str) -> ServedModel:
    desk = Desk(1)
    entry = ModelEntry(Config(alias=name), aliases=aliases)
    return ServedModel(entry, desk.dispatcher, desk.pool, desk.loader)


def test_own_names_then_aliases_then_copies_then_the_caches_then_patterns() -> None:
    big, small, cached = (
        served("big", "main", "*-chat", "hf:a/*"),
        served("small"),
        served("hf:a/b:Q8_0"),
    )
    copies = CopiedNames(None)
    for name in ("big", "main", "new-chat", "mine", "cached"):
        copies.add(name, cached.name if name == "cached" else "small")
    registry = ModelRegistry(
        [big, small], copies, lambda name: cached if name == cached.name else None
    )
    found = {
        "big": big,
        "main": big,
        "other-chat": big,
        "new-chat": small,
        "mine": small,
        "cached": cached,
        "hf:a/b:Q8_0": cached,
        "hf:a/c": big,
        "hf:b/b": None,
        "": None,
    }
    for name, model in found.items():
        assert registry.get(name) is model, name
    assert registry.get(None) is big
    assert registry.get(["big"]) is None
    assert registry.plain_aliases("small") == ["mine", "new-chat"]
    assert registry.plain_aliases("big") == ["main"]


def test_a_copy_of_a_model_that_is_gone_is_gone() -> None:
    copies = CopiedNames(None)
    copies.add("mine", "old")
    assert ModelRegistry([served("new")], copies).get("mine") is None


def test_an_error_names_some_models_and_not_all_of_an_unknown_name() -> None:
    registry = ModelRegistry([served("m")])
    names = [f"model-{number}" for number in range(MOST_NAMED + 5)]
    text = registry.unknown("x" * 10_000, names).message
    assert "'model-0', " in text
    assert text.endswith("and 5 more")
    assert len(text) < 1000
