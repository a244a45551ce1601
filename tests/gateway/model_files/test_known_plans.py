"""Plans of contexts that are known from earlier questions: llama.cpp is asked once."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import Config
from gateway.model_files import known_plans, memory_check
from gateway.model_files.known_plans import MOST, KnownPlans, mark
from gateway.model_files.memory_probe import MemoryProbe, NotPlanned, remembering
from tests.support.server import MODEL
from workers.protocol import ContextMemory, MemoryUnknown, WorkerSpec

PLAN = ContextMemory(n_ctx=1024, cells=1, states=2, compute=3, logits=4, extra_buffers=("AMX",))


def spec(model: Path = MODEL, **options: Any) -> WorkerSpec:
    given = {"model": model, "tuned": "off", "workers": 1, "threads": 1, **options}
    return Config.model_validate(given).worker_spec()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bytes]:
    """The questions that llama.cpp gets, of a user with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = list[bytes]()
    ask = MemoryProbe._ask

    def note(probe: MemoryProbe, question: bytes) -> Any:
        asked.append(question)
        return ask(probe, question)

    monkeypatch.setattr(MemoryProbe, "_ask", note)
    return asked


def test_the_same_question_is_asked_once(asked: list[bytes]) -> None:
    plans = []
    for _ in range(2):
        with remembering() as probe:
            plans.append(probe.plan(spec()))
    assert plans[0] == plans[1]
    assert len(asked) == 1
    with MemoryProbe() as probe:
        assert probe.plan(spec()) == plans[0], "llama.cpp still says so"


def test_a_start_of_the_same_server_asks_nothing(asked: list[bytes]) -> None:
    config = Config.model_validate({"model": MODEL, "tuned": "off"})
    for words in ({}, {"alias": "other"}, {"log_level": "debug"}, {"chat_template": "chatml"}):
        memory_check.check(config.model_copy(update=words))
    assert len(asked) == 1


def test_everything_that_counts_makes_another_mark(tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(MODEL, copy)
    link = tmp_path / "link.gguf"
    link.symlink_to(MODEL)
    usual = mark(spec())
    assert usual == mark(spec(link)) != mark(spec(copy))
    different = {mark(spec(**each)) for each in (
        {"ctx": 2048}, {"slots": 3}, {"batch": 256}, {"flash_attn": "off"}, {"kv_unified": "on"},
        {"cache_type_k": "q8_0"}, {"override_kv": "llama.context_length=int:4096"},
    )}  # fmt: skip
    assert len(different - {usual}) == 7
    before = mark(spec(copy))
    os.utime(copy, ns=(1, 1))
    assert mark(spec(copy)) != before


def test_another_build_of_llama_cpp_makes_another_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same version: it may repack other weights."""
    usual = mark(spec())
    (tmp_path / "libggml-cpu.so").write_bytes(b"other")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    assert mark(spec()) not in (None, usual)


def test_what_a_gpus_driver_decides_is_not_kept() -> None:
    assert mark(spec(n_gpu_layers=1)) is None
    assert mark(spec(n_gpu_layers="all")) is None


def test_a_model_that_is_not_there_has_no_mark(tmp_path: Path) -> None:
    assert mark(spec(tmp_path / "none.gguf")) is None


def test_what_llama_cpp_refuses_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(MemoryProbe, "_ask", lambda *_: MemoryUnknown("no"))
    plans = KnownPlans(tmp_path / "plans.json")
    with MemoryProbe(plans) as probe, pytest.raises(NotPlanned, match="no"):
        probe.plan(spec())
    assert not (tmp_path / "plans.json").exists()


@pytest.mark.parametrize("found", [b"", b"[]", b'{"a": 1}', b"\xff", b"x" * (1 << 21)], ids=len)
def test_a_file_of_something_else_is_written_anew(tmp_path: Path, found: bytes) -> None:
    file = tmp_path / "folder" / "plans.json"
    plans = KnownPlans(file)
    assert plans.find("a") is None
    file.parent.mkdir()
    file.write_bytes(found)
    assert plans.find("a") is None
    plans.add("a", PLAN)
    assert plans.find("a") == PLAN
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_the_oldest_go(tmp_path: Path) -> None:
    plans = KnownPlans(tmp_path / "plans.json")
    for number in range(MOST + 2):
        plans.add(str(number), PLAN)
    assert [plans.find(each) for each in ("0", "1")] == [None, None]
    assert plans.find("2") == plans.find(str(MOST + 1)) == PLAN


def test_nothing_is_kept_where_there_is_no_place(tmp_path: Path) -> None:
    KnownPlans(None).add("a", PLAN)
    (tmp_path / "file").touch()
    plans = KnownPlans(tmp_path / "file" / "plans.json")
    plans.add("a", PLAN)
    assert plans.find("a") is None


def test_a_user_without_a_home_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def none() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", none)
    assert known_plans.usual_file() is None
