"""The file between forge tune and forge serve: which of it counts, and when."""

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.config import tuning_profile
from gateway.config.config import Config
from gateway.config.sources import load
from gateway.config.tuning_profile import (
    Fingerprint,
    Tuned,
    Unusable,
    apply,
    fingerprint,
    fitting,
    path_for,
)
from gateway.system.host import Machine

HERE = Machine("Some CPU", 4, "0.3.36", "abc")
OPTIONS = {
    "workers": 1,
    "threads": 4,
    "slots": 16,
    "repack": "off",
    "ctx": 4096,
    "flash_attn": "off",
    "cache_type_k": "f16",
    "cache_type_v": "f16",
}
SHAPE = {"workers", "threads", "slots", "repack", "ctx"}
CACHE = {"flash_attn", "cache_type_k", "cache_type_v"}


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "a model.gguf"
    path.write_bytes(b"GGUF and more")
    return path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def saved(gguf: Path, home: dict[str, str], options: dict[str, Any] = OPTIONS) -> Path:
    mark = fingerprint(gguf)
    path = path_for(gguf, mark, home)
    tuning_profile.write(path, Tuned(mark, HERE, 0, options), gguf, "2026-01-01", {"alone": 1.5})
    return path


def applied(config: Config, home: dict[str, str]) -> tuple[Config, str | None]:
    return apply(config, home, lambda: HERE)


def test_what_is_written_is_read(gguf: Path, home: dict[str, str]) -> None:
    path = saved(gguf, home)
    assert path.parent == Path(home["XDG_CONFIG_HOME"]) / "forge" / "tuned"
    assert path.name.startswith("a_model-")
    assert os.listdir(path.parent) == [path.name]
    assert tuning_profile.read(path) == Tuned(fingerprint(gguf), HERE, 0, OPTIONS)


@pytest.mark.parametrize("name", ['"', "\x7f", "ü\t", "\ud800"])
def test_odd_names_are_written_too(name: str, tmp_path: Path, home: dict[str, str]) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"GGUF")
    path = path_for(gguf, Fingerprint(1, "a"), home)
    result = Tuned(Fingerprint(1, "a"), Machine(name.strip("\ud800"), 8, name[:0]), -1, OPTIONS)
    tuning_profile.write(path, result, gguf.with_name(name), "", {})
    assert tuning_profile.read(path) == result


def test_it_counts_where_nothing_is_set(gguf: Path, home: dict[str, str]) -> None:
    path = saved(gguf, home)
    config, note = applied(load({"model": gguf}, {}, None), home)
    assert {name: getattr(config, name) for name in OPTIONS} == OPTIONS
    assert note is not None
    assert str(path) in note
    assert applied(Config(model=gguf, tuned="off"), home) == (Config(model=gguf, tuned="off"), None)
    assert applied(Config(model=gguf), {"XDG_CONFIG_HOME": "/nowhere"}) == (
        Config(model=gguf),
        None,
    )


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, SHAPE | CACHE),
        ({"workers": "auto", "flash_attn": "auto"}, SHAPE | CACHE),
        ({"workers": "1"}, (SHAPE | CACHE) - {"workers"}),
        ({"workers": "2"}, CACHE),
        ({"threads": "2"}, CACHE),
        ({"slots": "8"}, CACHE),
        ({"repack": "on"}, CACHE),
        ({"repack": "off"}, (SHAPE | CACHE) - {"repack"}),
        ({"ctx": "1024"}, (SHAPE | CACHE) - {"ctx"}),
        ({"cache_type_v": "q8_0"}, SHAPE),
        ({"workers": "3", "flash_attn": "on"}, set()),
        ({"port": "1"}, SHAPE | CACHE),
    ],
)
@pytest.mark.parametrize("source", ["arguments", "environment"])
def test_what_a_person_sets_wins_and_takes_its_group_along(
    given: dict[str, Any], taken: set[str], source: str, gguf: Path
) -> None:
    arguments = {"model": gguf, **(given if source == "arguments" else {})}
    environment = {f"FORGE_{key.upper()}": str(value) for key, value in given.items()}
    config = load(arguments, environment if source == "environment" else {}, None)
    assert set(fitting(config, OPTIONS)) == taken


def test_no_mixture_has_more_threads_than_cores(gguf: Path, home: dict[str, str]) -> None:
    saved(gguf, home)
    for given in ({"workers": "2"}, {"threads": "3"}, {"workers": "4", "threads": "1"}):
        config, _ = applied(load({"model": gguf, **given}, {}, None), home)
        shape = config.shape(HERE.cores)
        assert shape.workers * shape.threads <= HERE.cores


@pytest.mark.parametrize(
    ("machine", "what"),
    [
        (Machine("Other CPU", 4, "0.3.36"), "CPU was Some CPU, is Other CPU"),
        (Machine("Some CPU", 2, "0.3.36"), "number of cores was 4, is 2"),
        (Machine("Some CPU", 4, "0.4.0"), "llama-cpp-python was 0.3.36, is 0.4.0"),
        (Machine("Some CPU", 4, "0.3.36", "def"), "build of llama.cpp was abc, is def"),
    ],
)
def test_another_machine(machine: Machine, what: str, gguf: Path, home: dict[str, str]) -> None:
    saved(gguf, home)
    config, note = apply(Config(model=gguf), home, lambda: machine)
    assert config == Config(model=gguf)
    assert note is not None
    assert what in note


def test_a_file_that_says_no_build_is_of_any(gguf: Path, home: dict[str, str]) -> None:
    """Earlier versions did not write it."""
    path = saved(gguf, home)
    path.write_text(path.read_text().replace('build = "abc"\n', ""))
    assert applied(Config(model=gguf), home)[0] != Config(model=gguf)


def test_another_model_or_a_gpu(gguf: Path, home: dict[str, str]) -> None:
    path = saved(gguf, home)
    on_gpu = Config(model=gguf, n_gpu_layers=-1)
    assert applied(on_gpu, home)[0] == on_gpu
    other = gguf.with_name("other.gguf")
    other.write_bytes(b"GGUF and less")
    assert applied(Config(model=other), home) == (Config(model=other), None)
    path.rename(path_for(other, fingerprint(other), home))
    config, note = applied(Config(model=other), home)
    assert config == Config(model=other)
    assert note is not None
    assert "another model" in note


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("workers = 1", "workers = 0", "workers: "),
        ("workers = 1", "workers = 2", "more threads than cores"),
        ("workers = 1", "port = 1", "port is none of its options"),
        ("[machine]", "[elsewhere]", "machine is missing"),
        ("[options]", "options]", "Expected"),
        ("[model]", "model = 1\n[x]", "int"),
    ],
)
def test_a_spoilt_file_is_not_used(
    old: str, new: str, reason: str, gguf: Path, home: dict[str, str]
) -> None:
    path = saved(gguf, home)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(Unusable, match=reason):
        tuning_profile.read(path)
    config, note = applied(Config(model=gguf), home)
    assert config == Config(model=gguf)
    assert note is not None
    assert f"{path} is not used: " in note


def test_a_relative_config_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for given in ({}, {"XDG_CONFIG_HOME": "here"}, {"XDG_CONFIG_HOME": ""}):
        assert tuning_profile.folder(given) == Path("/home/somebody/.config/forge/tuned")


def test_a_fingerprint_is_of_size_and_head(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"GGUF" + bytes(2 * tuning_profile.HEAD))
    other.write_bytes(b"GGUF" + bytes(2 * tuning_profile.HEAD - 1) + b"x")
    assert fingerprint(one) == fingerprint(other), "only the end differs"
    other.write_bytes(b"GGUX" + bytes(2 * tuning_profile.HEAD))
    assert fingerprint(one).short != fingerprint(other).short
    other.write_bytes(b"GGUF" + bytes(2 * tuning_profile.HEAD + 1))
    assert fingerprint(one).short != fingerprint(other).short
