"""Refusing what does not fit, with figures that are right and advice that helps."""

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import llama_cpp
import pytest

from gateway.cli.main import build_parser
from gateway.config.config import Config, ConfigError
from gateway.config.sources import load
from gateway.model_files import gguf, gpu_probe, memory_check, memory_fit
from gateway.model_files.memory_estimate import WORKER, MemoryEstimate, estimate
from gateway.model_files.memory_probe import MemoryProbe, NotPlanned
from gateway.model_files.offload import kept
from gateway.model_files.shape import shape
from gateway.system import host
from tests.conftest import Start
from tests.support.architectures import write
from tests.support.server import MODEL, eventually

MIB = 1 << 20
PROBE = MemoryProbe()


@pytest.fixture(scope="module", autouse=True)
def probe() -> Iterator[None]:
    """One process that plans for all tests here."""
    with PROBE:
        yield


def wanted(**options: object) -> memory_fit.RequestedShape:
    config = Config.model_validate({"workers": 2, "slots": 8, "cache_ram": 100, **options})
    return memory_check.wanted_by(config, gguf.read(MODEL), PROBE)


def test_what_fits_is_not_refused() -> None:
    asked = wanted()
    assert memory_fit.refusal(asked, asked.need().total) is None
    assert memory_fit.refusal(asked, asked.need().total - 1) is not None


def test_two_workers_share_mapped_weights_and_nothing_else() -> None:
    one, two = wanted(workers=1, spare=False).need(), wanted().need()
    assert one.mapped == two.mapped == pytest.approx(gguf.read(MODEL).size, rel=0.05)
    assert two.total - one.total == sum(one.worker)


@pytest.mark.parametrize("free", range(150 * MIB, 320 * MIB, 10 * MIB))
def test_each_advice_alone_makes_it_fit(free: int) -> None:
    refused = memory_fit.refusal(wanted(), free)
    if refused is None:
        return
    advice = refused.partition("What would do: ")[2].removesuffix(memory_fit.TRY_ANYWAY)
    parser = build_parser()
    for way in advice.split("; or "):
        if way.startswith("a smaller quantisation"):
            continue
        given = parse(
            parser, ["--workers", "2", "--cache-ram", "100", *shlex.split(way.split(", ")[0])]
        )
        other = memory_check.wanted_by(load(given, {}, None), gguf.read(MODEL), PROBE)
        assert other.need().total <= free, way


def parse(parser: argparse.ArgumentParser, options: list[str]) -> dict[str, object]:
    given = vars(parser.parse_args(["serve", *options]))
    del given["command"]
    return given


def test_advice_is_given_as_long_as_there_is_any() -> None:
    reasons = [memory_fit.refusal(wanted(), free * MIB) or "" for free in (290, 220, 60)]
    assert "--workers 1" in reasons[0]
    assert re.search(r"--ctx \d+", reasons[1])
    assert "a smaller quantisation or model" in reasons[2]


def test_the_figures_add_up() -> None:
    asked = wanted().need()
    rows = re.findall(r"([\d.]+) MiB( for each of 2 workers)?", memory_fit.figures(asked))
    total = sum(float(size) * (2 if each else 1) for size, each in rows)
    assert total * MIB == pytest.approx(asked.total, rel=0.02)


def test_an_only_worker_has_a_spare_process() -> None:
    """Which is as large as a worker that does not know its model."""
    bare, spared = wanted(workers=1, spare=False).need(), wanted(workers=1).need()
    assert spared.total - bare.total == spared.spare == WORKER
    assert bare.spare == wanted(workers=2).need().spare == 0


def test_what_may_come_later_is_only_warned_of() -> None:
    asked = wanted()
    free = asked.need().total + 60 * MIB
    assert memory_fit.refusal(asked, free) is None
    assert re.search(r"--cache-ram 60 would do", memory_fit.warning(asked, free) or "")
    assert memory_fit.warning(asked, free + 40 * MIB) is None


def test_nothing_is_said_where_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "memory_available", lambda: None)
    assert memory_check.check(Config()) is None
    monkeypatch.setattr(host, "memory_available", lambda: 1)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    assert memory_check.check(Config(model=broken)) is None
    with pytest.raises(ConfigError, match=r"^--model: the model needs .* and 0 KiB are free"):
        memory_check.check(Config())
    assert (memory_check.check(Config(force=True)) or "").startswith("--force: the model needs")


def test_weights_that_are_not_mapped_are_each_workers() -> None:
    """The gateway's own process is no worker, so it is the number of workers that counts."""
    one, two = wanted(workers=1, spare=False, mmap=False).need(), wanted(mmap=False).need()
    assert one.mapped == two.mapped == 0
    assert one.worker.weights + one.worker.repacked >= 0.9 * gguf.read(MODEL).size
    assert two.total - one.total == sum(one.worker)
    asked = wanted(mmap=False, repack=False)
    reason = memory_fit.refusal(asked, wanted(repack=False).need().total)
    assert reason is not None
    assert "MiB for each of 2 workers" in reason.partition("weights not mapped")[2]
    assert "; or --mmap" in reason


def test_locked_pages_do_not_go_when_nobody_reads_them() -> None:
    """Of what is repacked the mapped pages would."""
    asked = (wanted(mlock=mlock).spec for mlock in (False, True))
    plain, locked = (estimate(gguf.read(MODEL), spec, PROBE.plan(spec), 2, "arm") for spec in asked)
    everything = sum(tensor.size for tensor in gguf.read(MODEL).tensors)
    assert locked.mapped == everything == plain.mapped + plain.worker.repacked
    assert locked.worker == plain.worker


def test_overrides_count() -> None:
    plain, longer = wanted(), wanted(override_kv="llama.context_length=int:4096")
    assert longer.need().n_ctx == 8 * 4096 > plain.need().n_ctx
    for ignored in ("context_length=float:4096", "block_count=str:x"):
        assert wanted(override_kv=f"llama.{ignored}").need() == plain.need()
    with pytest.raises(NotPlanned):
        wanted(override_kv=f"llama.block_count=int:{10**12}").need()


def test_a_damaged_number_of_layers_costs_nothing() -> None:
    model = gguf.read(MODEL)
    damaged = replace(model, metadata={**model.metadata, "llama.block_count": 2**63})
    assert shape(damaged).layers == 512


def test_experts_that_stay_count(tmp_path: Path) -> None:
    """On a machine with a GPU that takes all other layers."""
    write("qwen3moe", MODEL, tmp_path / "moe.gguf")
    model = gguf.read(tmp_path / "moe.gguf")
    experts = [tensor for tensor in model.tensors if "_exps" in tensor.name]

    def mapped(**options: object) -> int:
        asked = {"workers": 1, "ctx": 4096, "repack": False, "n_gpu_layers": "all", **options}
        config = Config.model_validate({"model": model.files[0], **asked})
        return memory_check.wanted_by(config, model, PROBE, gpu=True).need().mapped

    embeddings, all_of_them = mapped(), sum(tensor.size for tensor in experts)
    assert mapped(cpu_moe=True) == embeddings + all_of_them
    assert mapped(n_cpu_moe=1) == embeddings + all_of_them // 2
    assert mapped(override_tensor="exps=CPU", n_gpu_layers=0) == mapped(n_gpu_layers=0)
    elsewhere = Config(override_tensor="token_embd=CUDA0,(=CPU", n_gpu_layers=-1).worker_spec()
    there = [tensor.name for tensor in model.tensors if kept(2, elsewhere, gpu=True).has(tensor)]
    assert "token_embd.weight" not in there, "and a pattern that Python can't read is llama.cpp's"


def test_layers_on_a_gpu_do_not_count() -> None:
    def there(**options: object) -> MemoryEstimate:
        config = Config.model_validate({"workers": 1, "ctx": 4096, "repack": False, **options})
        return memory_check.wanted_by(config, gguf.read(MODEL), PROBE, gpu=True).need()

    none, one, two, every = (there(n_gpu_layers=n) for n in (0, 1, 2, "all"))
    assert none == there(), "none was asked for"
    assert one.worker.cells == none.worker.cells, "the output goes first"
    layers = shape(gguf.read(MODEL)).layers
    assert two.worker.cells == none.worker.cells * (layers - 1) // layers
    assert there(n_gpu_layers=2, kv_offload=False).worker.cells == none.worker.cells
    assert every.worker.cells == every.worker.compute == 0
    assert none.mapped > one.mapped > two.mapped > every.mapped > 0, "embeddings stay"
    assert every == there(n_gpu_layers=layers + 1) != there(n_gpu_layers=layers)


def test_a_gpu_that_is_not_there_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "memory_available", lambda: wanted().need().total * 3 // 5)
    options = {"workers": 2, "slots": 8, "cache_ram": 0, "n_gpu_layers": -1}
    monkeypatch.setattr(gpu_probe, "there", lambda: False)
    with pytest.raises(ConfigError, match=r"^--model: the model needs"):
        memory_check.check(Config.model_validate(options))
    monkeypatch.setattr(gpu_probe, "there", lambda: True)
    assert memory_check.check(Config.model_validate(options)) is None


def test_llama_cpp_is_asked_whether_it_finds_a_gpu() -> None:
    assert gpu_probe.there() is llama_cpp.llama_supports_gpu_offload()


def test_the_server_refuses_before_it_loads(start_server: Start) -> None:
    """A context that no machine has the memory for; nothing is left behind."""
    server = start_server("--ctx", str(2**34), "--workers", "1", ready=False)
    assert server.wait() == 1
    assert re.search(r"needs [\d.]+ GiB of memory, and .* are free.*--ctx \d+", server.stderr)
    assert "Traceback" not in server.stderr
    forced = start_server("--ctx", str(2**34), "--workers", "1", "--force", ready=False)
    eventually(lambda: "--force: the model needs" in forced.stderr, "it tries all the same")
