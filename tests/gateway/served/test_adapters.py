"""Adapters of the configuration: their names, their scales, and what is wrong with them."""

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.config import model_tables
from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError
from gateway.served.adapter_changes import wanted
from tests.support import architectures
from tests.support.adapters import random_lora
from tests.support.memory_pool import MemoryPool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("loras")
    for seed, name in enumerate(("legal", "medical")):
        random_lora(EMBEDDED_MODEL, seed).write(there / f"{name}.gguf")
    (there / "again").mkdir()
    os.link(there / "legal.gguf", there / "again" / "legal.gguf")
    qwen = there / "qwen.gguf"
    architectures.write("qwen2", EMBEDDED_MODEL, qwen)
    random_lora(qwen, 1).write(there / "of-qwen.gguf")
    (there / "broken.gguf").write_bytes((there / "legal.gguf").read_bytes()[:-100])
    return there


def gateway(**options: Any) -> Gateway:
    return Gateway(Config(alias="chat", **options), pool=MemoryPool(1))


def scales(config: Config) -> list[tuple[str, float]]:
    return [(each.name, each.usual) for each in wanted(config)]


def test_llama_servers_come_first_and_are_applied() -> None:
    options = {"adapters": "a=1,b=2", "lora": "x/c.gguf,d.gguf", "lora_scaled": "e.gguf:0.5"}
    assert scales(Config(**options)) == [("c", 1), ("d", 1), ("e", 0.5), ("a", 0), ("b", 0)]
    without = Config(**options, lora_init_without_apply=True)
    assert {scale for _, scale in scales(without)} == {0.0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adapters": "chat={}/legal.gguf"}, "--adapters: 'chat' names two"),
        ({"lora": "{}/legal.gguf,{}/again/legal.gguf"}, "--lora: 'legal' names two"),
        ({"lora": "{}/legal.gguf", "adapters": "legal={}/medical.gguf"}, "'legal' names two"),
        ({"adapters": "a={}/nothing.gguf"}, "--adapters: can't read"),
        ({"adapters": "a={}"}, "convert_lora_to_gguf.py"),
        ({"lora_scaled": "{}/broken.gguf:1"}, "--lora-scaled: {}/broken.gguf is cut off"),
        ({"lora": "{}/of-qwen.gguf"}, "architecture 'qwen2'"),
        ({"lora": str(EMBEDDED_MODEL)}, "is no adapter"),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line(
    folder: Path, options: dict[str, str], words: str
) -> None:
    said = {name: value.replace("{}", str(folder)) for name, value in options.items()}
    with pytest.raises(ConfigError) as caught:
        gateway(**said)
    text = str(caught.value)
    assert words.replace("{}", str(folder)) in text
    assert "\n" not in text
    assert "/proc" not in text


def test_one_file_may_have_two_names(folder: Path) -> None:
    """Workers have it once."""
    made = gateway(adapters=f"one={folder}/legal.gguf,two={folder}/again/legal.gguf")
    adapters = made.registry.first.adapters
    assert [each.name for each in adapters] == ["one", "two"]
    assert len(adapters.files) == 1
    made.registry.first.adapters.close()


def tables(folder: Path, text: str, **said: Any) -> list[tuple[str, list[str]]]:
    file = folder / "forge.toml"
    file.write_text(text.replace("{}", str(folder)), encoding="utf-8")
    _, entries = model_tables.load(said, {}, file, lambda _: None)
    return [(each.name, [a.name for a in wanted(each.config)]) for each in entries]


MODEL = f'model = "{EMBEDDED_MODEL}"'


def test_tables(folder: Path) -> None:
    named = '[models.one.adapters]\nlegal = "{}/legal.gguf"'
    text = f"[models.one]\n{MODEL}\n{named}\n[models.two]\n{MODEL}\n"
    assert tables(folder, text) == [("one", ["legal"]), ("two", [])]
    beside = tables(folder, text, model=str(EMBEDDED_MODEL), lora=f"{folder}/medical.gguf")
    assert beside == [("forge-tiny", ["medical"]), ("one", ["legal"]), ("two", [])]
    with pytest.raises(ConfigError, match="--lora: an adapter is one model's"):
        tables(folder, text, lora=f"{folder}/medical.gguf")
    wrong = text.replace('"{}/legal.gguf"', "3")
    with pytest.raises(ConfigError, match=r"models\.one\.adapters in .*NAME=FILE"):
        tables(folder, wrong)
