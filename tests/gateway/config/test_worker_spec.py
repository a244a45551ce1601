"""Workers as the configuration makes them: how many, their threads and slots, memory, patience."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.config import EMBEDDED_MODEL, MIB, Config
from gateway.config.patience import BATCH_REST_MS
from gateway.config.pool_shape import SMALL, PoolShape
from gateway.config.sources import load
from gateway.system.host import total_memory


@pytest.mark.parametrize("cores", range(1, 65))
@pytest.mark.parametrize("model", [EMBEDDED_MODEL, Path("a large or absent one")])
def test_threads_never_exceed_the_cores(cores: int, model: Path) -> None:
    """Compute threads spin at barriers: more of them than cores, and everything halves."""
    shape = Config(model=model).shape(cores)
    assert 1 <= shape.workers * shape.threads <= cores
    assert shape.workers * shape.slots >= min(16, 8 * cores)


def test_one_worker_has_all_cores_up_to_eight(tmp_path: Path) -> None:
    """Beyond them the machine is divided."""
    large = tmp_path / "large.gguf"
    with large.open("wb") as stream:
        stream.truncate(SMALL)
    shapes = {cores: Config(model=large).shape(cores) for cores in (1, 2, 8, 32, 64)}
    assert shapes == {
        1: PoolShape(1, 16, 1),
        2: PoolShape(1, 16, 2),
        8: PoolShape(1, 16, 8),
        32: PoolShape(4, 8, 8),
        64: PoolShape(8, 8, 8),
    }


def test_a_small_model_gets_workers_of_one_thread() -> None:
    """They also leave another serving when one is lost."""
    shapes = {cores: Config().shape(cores) for cores in (1, 2, 8, 32)}
    assert shapes == {
        1: PoolShape(1, 16, 1),
        2: PoolShape(2, 8, 1),
        8: PoolShape(2, 8, 1),
        32: PoolShape(8, 8, 1),
    }


def test_a_part_of_a_model_says_nothing_about_its_size(tmp_path: Path) -> None:
    first = tmp_path / "large-00001-of-00002.gguf"
    first.touch()
    assert Config(model=first).shape(8) == PoolShape(1, 16, 8)


@pytest.mark.parametrize("cores", [1, 2, 8, 64])
def test_weights_are_on_a_gpu_once(cores: int) -> None:
    shape = Config(n_gpu_layers=-1).shape(cores)
    assert shape == PoolShape(1, 16, min(cores, 8))


def test_one_worker_that_is_asked_for_has_the_slots_of_one() -> None:
    assert Config(workers=1).shape(2) == PoolShape(1, 8, 2)


@given(st.integers(1, 64), st.integers(1, 80))
def test_threads_share_the_cores_among_the_workers_asked_for(cores: int, workers: int) -> None:
    shape = Config(workers=workers).shape(cores)
    assert shape.workers == workers
    assert shape.threads == max(1, cores // workers)


@given(st.integers(1, 64), st.integers(1, 64))
def test_workers_follow_the_threads_asked_for(cores: int, threads: int) -> None:
    """--threads 8 on 64 cores must not start 16 workers of 8."""
    shape = Config(threads=threads).shape(cores)
    assert shape.threads == threads
    assert shape.workers * shape.threads <= max(cores, threads)


def test_what_is_asked_is_done() -> None:
    assert Config(workers=3, threads=5, slots=7).shape(2) == PoolShape(3, 7, 5)


@pytest.mark.parametrize(
    ("said", "targets"),
    [
        ("auto", [(0.0, None, BATCH_REST_MS), (1.0, None, 0.0), (2.0, None, 0.0)]),
        ("75", [(0.0, 75.0, 0.0)]),
        ("urgent=50", [(0.0, None, BATCH_REST_MS), (1.0, None, 0.0), (2.0, 50.0, 0.0)]),
        ("urgent=50, batch=2000", [(0.0, 2000.0, 0.0), (1.0, None, 0.0), (2.0, 50.0, 0.0)]),
    ],
)
def test_classes_have_their_own_patience(
    said: str, targets: list[tuple[float, float | None, float]], gguf: Path
) -> None:
    config = load({"model": gguf, "target_itl_ms": said}, {}, None)
    found = config.worker_spec().patience
    assert [(each.priority, each.target_ms, each.rest_ms) for each in found] == targets


def test_worker_spec(gguf: Path) -> None:
    config = Config(model=gguf, slots=128, batch=128, ctx=640, threads=1, workers=1)
    spec = config.worker_spec()
    assert (spec.model_path, spec.slots, spec.batch, spec.n_ctx) == (str(gguf), 128, 128, 640)
    assert Config(model=gguf).worker_spec().n_ctx is None
    off = Config(flash_attn="off", repack="off", cache_type_k="f32").worker_spec()
    assert (off.flash_attn, off.repack, off.type_k, off.type_v) == ("off", False, "f32", "f16")


def test_memory_for_prefixes(tmp_path: Path) -> None:
    """It is the workers' together; automatic, a part of what this machine or container has."""
    assert Config(cache_ram=100, workers=4).worker_spec().cache_bytes == 25 * MIB
    assert Config(cache_ram=0).worker_spec().cache_bytes == 0
    assert Config().worker_spec().disk_bytes == 0, "off unless it is wanted"
    assert Config(cache_disk=5).worker_spec().disk_bytes == 5 * MIB
    assert Config().cache_bytes(memory=16 * 1024 * MIB) == 2048 * MIB
    assert Config().cache_bytes(memory=1024 * 1024 * MIB) == 8192 * MIB
    assert Config().cache_bytes() <= total_memory() / 8
    machine = total_memory(tmp_path / "none")
    for text, memory in (("max\n", machine), (f"{64 * MIB}\n", 64 * MIB), (f"{2**80}\n", machine)):
        (tmp_path / "limit").write_text(text)
        assert total_memory(tmp_path / "limit") == memory


@pytest.mark.parametrize("said", [True, "true", "yes", "1", "on"])
def test_weights_were_once_repacked_or_not(said: bool | str) -> None:
    """Files and environments of then still say what they said."""
    assert Config.model_validate({"repack": said}).repack == "on"
    assert Config.model_validate({"repack": not said if said is True else "no"}).repack == "off"
    assert [Config(repack=each).worker_spec().repack for each in ("auto", "on", "off")] == [
        True,
        True,
        False,
    ]
