"""Measurements at the first load of a model, on real llama.cpp."""

import asyncio
import itertools
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import PoolingType

from gateway.config import tuning_profile
from gateway.config.config import Config, NotNow
from gateway.config.pool_shape import SMALL
from gateway.model_files import memory_check
from gateway.served import first_look
from gateway.served.first_look import FirstLook, request_s, undecided
from tests.support import architectures
from tests.support.encoder import encoder
from tests.support.server import MODEL
from workers.llama.quantize import shrink
from workers.protocol import WorkerSpec
from workers.protocol.jobs import Shrink

pytestmark = pytest.mark.anyio
Q4_0 = 2
"""llama.cpp's number of the type."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model in a file that is not small: what follows its tensors is not read."""
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    shutil.copy(MODEL, path)
    os.truncate(path, SMALL)
    return path


async def look(
    config: Config, environment: dict[str, str], busy: Callable[[], bool] = lambda: False
) -> WorkerSpec:
    return await FirstLook(environment, busy)(config, config.worker_spec())


def remembered(home: Path) -> list[Path]:
    return sorted((home / "forge" / "tuned").glob("*"))


def test_a_request_has_a_prompt_and_an_answer() -> None:
    assert request_s(decode=64.0, prefill=256.0) == 2.0
    assert request_s(decode=32.0, prefill=256.0) == request_s(decode=64.0, prefill=128.0) == 3.0


@pytest.mark.parametrize(
    ("given", "open_"),
    [
        ({}, {"repack", "flash_attn"}),
        ({"repack": "on"}, {"flash_attn"}),
        ({"repack": False, "flash_attn": "off"}, set()),
        ({"cache_type_v": "q8_0"}, {"repack"}),
        ({"n_gpu_layers": 1}, set()),
        ({"tuned": "off"}, set()),
        ({"model": MODEL}, set()),
        ({"model": "/nowhere/model.gguf"}, {"repack", "flash_attn"}),
    ],
)
def test_only_what_is_left_open_is_measured(
    given: dict[str, object], open_: set[str], large: Path
) -> None:
    assert undecided(Config.model_validate({"model": large, **given})) == open_


async def test_it_is_measured_once_and_remembered(
    large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "forge.models")
    config, environment = Config(model=large), {"XDG_CONFIG_HOME": str(tmp_path)}
    first = await look(config, environment)
    assert "model 'large'" in caplog.text
    (path,) = remembered(tmp_path)
    tuned = tuning_profile.read(path)
    assert tuned.options == {
        "repack": "on" if first.repack else "off",
        "flash_attn": first.flash_attn,
    }
    assert path.read_text().startswith("# Written by `forge serve`")
    caplog.clear()
    # What is read is used as it stands, without another look at the machine.
    other = {**tuned.options, "repack": "off" if first.repack else "on"}
    changed = tuning_profile.Tuned(tuned.model, tuned.machine, tuned.n_gpu_layers, other)
    tuning_profile.write(path, changed, large, "", {})
    again = await look(config, environment)
    assert again.repack is not first.repack
    assert not caplog.text


async def test_copies_that_are_no_faster_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take memory."""
    path = tmp_path / "q4_0.gguf"
    job = Shrink(str(MODEL), str(path), Q4_0, threads=1, pure=False, requantize=False)
    shrink(job, lambda *_: None)
    os.truncate(path, SMALL)
    config = Config(model=path, flash_attn="off")
    if not first_look.repackable(config):
        pytest.skip("llama.cpp repacks no weights here")

    async def equal(*_: object) -> float:
        return 1.0

    monkeypatch.setattr(first_look, "_cost", equal)
    assert not (await look(config, {"XDG_CONFIG_HOME": str(tmp_path)})).repack


async def test_another_machine_measures_anew(large: Path, tmp_path: Path) -> None:
    config, environment = Config(model=large, flash_attn="on"), {"XDG_CONFIG_HOME": str(tmp_path)}
    await look(config, environment)
    (path,) = remembered(tmp_path)
    path.write_text(path.read_text().replace("cores = ", "cores = 1"))
    before = path.read_text()
    spec = await look(config, environment)
    assert remembered(tmp_path) == [path]
    assert path.read_text() != before
    assert spec.flash_attn == "on"


async def test_a_model_that_cannot_be_measured_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says why; the worker that loads it says it to all."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    os.truncate(broken, SMALL)
    config = Config(model=broken)
    assert await look(config, {"XDG_CONFIG_HOME": str(tmp_path)}) == (config.worker_spec())
    assert "not measured" in caplog.text
    assert remembered(tmp_path) == []


async def test_a_folder_that_cannot_be_written_is_no_failure(
    large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "forge").write_text("no folder")
    config = Config(model=large, flash_attn="on")
    spec = await look(config, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert spec.flash_attn == "on"
    assert "can't remember" in caplog.text


async def test_nothing_is_measured_while_others_answer(
    large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their cores are not free; what they disturbed is used, and not remembered."""
    config, environment = Config(model=large, repack="off"), {"XDG_CONFIG_HOME": str(tmp_path)}
    caplog.set_level(logging.INFO, "forge.models")
    assert await look(config, environment, busy=lambda: True) == config.worker_spec()
    assert not caplog.text
    later = itertools.chain([False], itertools.repeat(True))
    await look(config, environment, busy=lambda: next(later))
    assert "flash attention" in caplog.text
    assert remembered(tmp_path) == []


async def test_without_room_for_scores_flash_attention_stays(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a long sequence there are many; when there is room it is looked at again."""
    config, environment = Config(model=large, repack="off"), {"XDG_CONFIG_HOME": str(tmp_path)}
    asked = list[Config]()

    def check(config: Config) -> str | None:
        asked.append(config)
        if len(asked) == 1:
            raise NotNow("no room")
        return None

    monkeypatch.setattr(memory_check, "check", check)
    assert await look(config, environment) == config.worker_spec()
    assert remembered(tmp_path) == []
    await look(config, environment)
    (path,) = remembered(tmp_path)
    assert set(tuning_profile.read(path).options) == {"flash_attn"}
    assert [(c.flash_attn, c.kv_unified) for c in asked] == [("off", "on")] * 2


@pytest.mark.parametrize("kind", ["embeds", "ranks"])
async def test_a_model_that_does_not_generate_is_not_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Each load would try it in vain."""
    path = tmp_path / "encoder.gguf"
    if kind == "embeds":
        encoder(path, PoolingType.MEAN)
    else:
        architectures.write("qwen3", MODEL, path, rerank="{query} {document}")
    os.truncate(path, SMALL)
    config = Config(model=path)
    assert undecided(config)
    assert await look(config, {"XDG_CONFIG_HOME": str(tmp_path)}) == config.worker_spec()
    assert not caplog.text


async def test_two_at_once_are_measured_one_after_the_other(
    large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second finds what the first has measured, if it is the same model."""
    caplog.set_level(logging.INFO, "forge.models")
    config = Config(model=large, repack="off")
    first_look = FirstLook({"XDG_CONFIG_HOME": str(tmp_path)}, lambda: False)
    specs = await asyncio.gather(*(first_look(config, config.worker_spec()) for _ in range(2)))
    assert specs[0] == specs[1]
    assert caplog.text.count("measuring once") == 1


async def test_a_process_that_says_something_else_is_no_failure(
    large: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """For instance a module of the site that prints when Python starts."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("print('hello', flush=True)")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    config = Config(model=large)
    assert await look(config, {"XDG_CONFIG_HOME": str(tmp_path)}) == config.worker_spec()
    assert "not measured" in caplog.text
