"""llama-server's options: what each does to the model, seen in llama.cpp itself."""

import ctypes
import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import llama_cpp
import msgspec
import numpy as np
import pytest

from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.config.engine_options import CacheType
from tests.support.architectures import write
from tests.support.engine_driver import spec
from workers import llama
from workers.llama import OK, Context, LoadFailed, Model, geometries, loading
from workers.protocol import WorkerSpec

llama.initialise()

ROOT = Path(__file__).parents[3]
TEXT = "Once upon a time there was a small dog."


def wanted(**options: Any) -> WorkerSpec:
    """The options as the command line has them, in a spec for tests."""
    asked, plain = Config(**options).worker_spec(), Config().worker_spec()
    changes = {
        name: getattr(asked, name)
        for name in WorkerSpec.__struct_fields__
        if getattr(asked, name) != getattr(plain, name)
    }
    assert changes, "an option that changes nothing"
    return msgspec.structs.replace(spec(EMBEDDED_MODEL), **changes)


def logits(model: Model, asked: WorkerSpec) -> bytes:
    context = Context(model, asked, geometries(model, asked).base)
    try:
        tokens = model.tokenize(TEXT)
        assert context.decode([(0, 0, tokens, 1)]) == OK
        return context.logits(len(tokens) - 1).tobytes()
    finally:
        context.close()


def directly(model: Model, **values: Any) -> bytes:
    """The same by llama.cpp's own parameters."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_threads = 512, 48, 48, 1
    params.n_threads_batch, params.n_seq_max = 1, 9
    params.kv_unified = True
    for name, value in values.items():
        setattr(params, name, value)
    context = llama_cpp.llama_init_from_model(model.handle, params)
    tokens = model.tokenize(TEXT)
    array = (ctypes.c_int32 * len(tokens))(*tokens)
    try:
        batch = llama_cpp.llama_batch_get_one(array, len(tokens))
        assert llama_cpp.llama_decode(context, batch) == OK
        row = llama_cpp.llama_get_logits_ith(context, len(tokens) - 1)
        return ctypes.string_at(row, 4 * model.n_vocab)
    finally:
        llama_cpp.llama_free(context)


LINEAR, YARN = llama_cpp.LLAMA_ROPE_SCALING_TYPE_LINEAR, llama_cpp.LLAMA_ROPE_SCALING_TYPE_YARN
STRETCHED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"rope_freq_base": 500.0}, {"rope_freq_base": 500.0}),
    ({"rope_freq_scale": 0.5}, {"rope_freq_scale": 0.5}),
    ({"rope_scale": 4.0}, {"rope_freq_scale": 0.25}),
    (
        {"rope_scaling": "linear", "rope_scale": 3.0},
        {"rope_scaling_type": LINEAR, "rope_freq_scale": 1 / 3},
    ),
    (
        {"rope_scaling": "yarn", "rope_scale": 4.0},
        {"rope_scaling_type": YARN, "rope_freq_scale": 0.25},
    ),
    (
        {"rope_scaling": "yarn", "rope_scale": 4.0, "yarn_orig_ctx": 64},
        {"rope_scaling_type": YARN, "rope_freq_scale": 0.25, "yarn_orig_ctx": 64},
    ),
    (
        {"rope_scaling": "yarn", "rope_scale": 4.0, "yarn_ext_factor": 0.5},
        {"rope_scaling_type": YARN, "rope_freq_scale": 0.25, "yarn_ext_factor": 0.5},
    ),
    (
        # With extrapolation llama.cpp finds the factor itself.
        {"rope_scale": 4.0, "yarn_ext_factor": 0.0, "yarn_attn_factor": 1.5},
        {"rope_freq_scale": 0.25, "yarn_ext_factor": 0.0, "yarn_attn_factor": 1.5},
    ),
    (
        {"rope_scaling": "yarn", "rope_scale": 4.0, "yarn_beta_slow": 4.0},
        {"rope_scaling_type": YARN, "rope_freq_scale": 0.25, "yarn_beta_slow": 4.0},
    ),
    (
        {"rope_scaling": "yarn", "rope_scale": 4.0, "yarn_beta_fast": 8.0},
        {"rope_scaling_type": YARN, "rope_freq_scale": 0.25, "yarn_beta_fast": 8.0},
    ),
]


@pytest.fixture(scope="module")
def model() -> Any:
    """One of our own, for YaRN changes the context that it says it has."""
    model = Model(spec(EMBEDDED_MODEL))
    yield model
    model.close()


def test_each_way_to_stretch_rope_is_llama_cpps_own(model: Model) -> None:
    seen = {logits(model, spec(EMBEDDED_MODEL))}
    assert seen == {directly(model)}
    for options, values in STRETCHED:
        found = logits(model, wanted(**options))
        assert found == directly(model, **values), options
        seen.add(found)
    assert len(seen) == len(STRETCHED) + 1, "each is seen"


@pytest.mark.parametrize("kind", get_args(CacheType))
def test_each_type_of_cache_computes(model: Model, kind: str) -> None:
    asked = spec(EMBEDDED_MODEL, type_k=kind, type_v=kind)
    found, plain = (
        np.frombuffer(logits(model, each), np.float32) for each in (asked, spec(EMBEDDED_MODEL))
    )
    assert np.corrcoef(found, plain)[0, 1] > 0.9
    # For flash attention llama.cpp makes F16 of F32.
    assert (kind in ("f16", "f32")) is bool((found == plain).all())


def test_without_scaling_the_factor_does_nothing(model: Model) -> None:
    plain = logits(model, spec(EMBEDDED_MODEL))
    assert logits(model, wanted(rope_scaling="none", rope_scale=4.0)) == plain


def test_yarn_makes_the_models_context_longer() -> None:
    model = Model(spec(EMBEDDED_MODEL))
    trained = model.n_ctx_train
    asked = wanted(rope_scaling="yarn", rope_scale=2.0, ctx=2 * trained)
    context = Context(model, asked, geometries(model, asked).choose([2 * trained]))
    assert model.info("m", context.n_ctx).n_ctx_seq == 2 * trained
    context.close()
    model.close()


# ------------------------------------------------------------------ metadata


def overriding(*values: str) -> Model:
    return Model(wanted(override_kv=list(values)))


def test_each_type_of_override() -> None:
    plain = Model(spec(EMBEDDED_MODEL))
    comma, period = plain.tokenize(",", add_special=False), plain.tokenize(".", add_special=False)
    adds = plain.adds_bos
    model = overriding(
        "llama.context_length=int:1234",
        f"tokenizer.ggml.add_bos_token=bool:{str(not adds).lower()}",
        f"tokenizer.ggml.eos_token_id=int:{comma[0]},llama.rope.freq_base=float:500",
        "no.such.key=str:it is allowed",
    )
    try:
        assert model.info("m", 10**6).n_ctx_seq == 1234
        assert model.adds_bos is not adds
        assert comma[0] in model.eog - plain.eog
        assert period[0] not in model.eog
        tokens = plain.tokenize(TEXT)
        assert tokens != model.tokenize(TEXT)
    finally:
        model.close()
        plain.close()


def test_an_override_of_a_float_is_what_the_option_is(model: Model) -> None:
    other = overriding("llama.rope.freq_base=float:500")
    assert logits(other, spec(EMBEDDED_MODEL)) == logits(model, wanted(rope_freq_base=500.0))
    other.close()


def test_an_override_of_the_wrong_type_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "forge.llama"):
        model = overriding("llama.context_length=float:1")
    assert any("override type for key 'llama.context_length'" in line for line in caplog.messages)
    assert model.n_ctx_train > 1
    model.close()


def test_an_override_that_llama_cpp_refuses_says_why() -> None:
    with pytest.raises(LoadFailed, match=r"llama\.cpp can't load this model: "):
        overriding("llama.attention.head_count=int:0")


def test_what_looks_to_both_sides_by_override() -> None:
    model = overriding("llama.attention.causal=bool:false")
    assert not model.causal
    model.close()


# ------------------------------------------------------------------ memory

LOAD = """
import ctypes, json, logging, resource, sys
from pathlib import Path
import msgspec
from tests.support.architectures import write
from tests.support.engine_driver import spec
from workers import llama
path, mmap, mlock, limit = json.loads(sys.argv[1])
if limit is not None:  # for root, too: no capability is left
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capset(header, data) == 0, ctypes.get_errno()
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
logging.basicConfig(level=logging.WARNING)
llama.initialise()
wanted = msgspec.structs.replace(spec(Path(path)), mmap=mmap, mlock=mlock)
model = llama.Model(wanted)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "locked": 1024 * int(status["VmLck"].split()[0]),
    "mapped": path in open("/proc/self/maps").read(),
}))
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="what a process maps and locks: /proc")


def loaded(*, mmap: bool, mlock: bool, limit: int | None = None) -> tuple[dict[str, Any], str]:
    """Return what a process has after it loaded the model, and what it logged."""
    asked = json.dumps([str(EMBEDDED_MODEL), mmap, mlock, limit])
    done = subprocess.run(
        [sys.executable, "-c", LOAD, asked], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@linux
@pytest.mark.parametrize("mmap", [True, False])
def test_weights_are_mapped_or_not(mmap: bool) -> None:
    found, log = loaded(mmap=mmap, mlock=False)
    assert found == {"locked": 0, "mapped": mmap}
    assert log == ""


def weights() -> int:
    return EMBEDDED_MODEL.stat().st_size * 9 // 10


@linux
@pytest.mark.parametrize("mmap", [True, False])
def test_weights_are_locked(mmap: bool) -> None:
    most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if most != resource.RLIM_INFINITY and most < 1.2 * weights():
        pytest.skip("this system lets nobody lock as much memory as the model has")
    found, log = loaded(mmap=mmap, mlock=True)
    assert found["locked"] >= weights()
    assert found["mapped"] is mmap
    assert log == ""


@linux
def test_what_can_not_be_locked_is_warned_of() -> None:
    found, log = loaded(mmap=True, mlock=True, limit=1 << 16)
    assert found["locked"] < weights()
    assert "WARNING:forge.llama:llama.cpp: warning: failed to mlock" in log
    assert "RLIMIT_MEMLOCK" in log


# ------------------------------------------------------------------ machines


@pytest.mark.parametrize("count", [1, 2])
def test_numa_is_set_once_and_warned_of_where_it_does_nothing(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = list[int]()
    monkeypatch.setattr(llama_cpp, "llama_numa_init", calls.append)
    monkeypatch.setattr(loading, "_numa", None)
    for node in range(count):
        (tmp_path / f"node{node}").mkdir()
    for numa in ("off", "isolate", "distribute"):
        loading.place_threads(numa, tmp_path)
    assert calls == [llama_cpp.GGML_NUMA_STRATEGY_ISOLATE], "once per process"
    assert [line.split(":")[0] for line in caplog.messages] == ["--numa isolate"] * (count == 1)


@pytest.mark.parametrize("numa", ["distribute", "isolate", "numactl"])
def test_llama_cpp_takes_each_kind_of_numa(numa: str) -> None:
    """In a process of its own: it can't be taken back."""
    source = (
        "from tests.workers.llama.test_llama_options import *\n"
        f"model = Model(wanted(numa={numa!r}))\n"
        "assert len(logits(model, spec(EMBEDDED_MODEL)))\n"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


GPU: list[tuple[dict[str, Any], str | None]] = [
    ({"n_gpu_layers": 3}, "--n-gpu-layers 3"),
    ({"n_gpu_layers": "all"}, "--n-gpu-layers -1"),
    ({"main_gpu": 1}, "--main-gpu 1"),
    ({"split_mode": "none"}, "--split-mode none"),
    ({"split_mode": "row"}, "--split-mode row"),
    ({"tensor_split": "3,1.5"}, "--tensor-split 3,1.5"),
    ({"kv_offload": False}, "--no-kv-offload"),
    ({"mlock": True}, None),
]


@pytest.mark.skipif(loading.has_gpu(), reason="llama.cpp has a GPU here, nothing to warn of")
@pytest.mark.parametrize(("options", "warning"), GPU)
def test_without_a_gpu_what_is_for_one_is_warned_of(
    options: dict[str, Any], warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "forge.llama"):
        Model(wanted(**options)).close()
    told = [line.split(": ")[0] for line in caplog.messages if line.startswith("--")]
    assert told == ([] if warning is None else [warning])


def test_what_a_gpu_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has_gpu", lambda: True)
    params = loading.model_params(wanted(main_gpu=1, split_mode="row", tensor_split="3,1.5"))
    assert (params.main_gpu, params.split_mode) == (1, llama_cpp.LLAMA_SPLIT_MODE_ROW)
    assert params.tensor_split[: llama_cpp.llama_max_devices()][:3] == [3.0, 1.5, 0.0]
    many = ",".join("1" * (llama_cpp.llama_max_devices() + 1))
    with pytest.raises(LoadFailed, match=r"--tensor-split: \d+ GPUs, and llama\.cpp takes \d+"):
        loading.model_params(wanted(tensor_split=many))


# ------------------------------------------------------------------ buffers of tensors


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of experts."""
    path = tmp_path_factory.mktemp("mixture") / "moe.gguf"
    write("qwen3moe", EMBEDDED_MODEL, path)
    return path


MOVED = re.compile(r"tensor (\S+) \(.*\) buffer type overridden to CPU\b")
EXPERTS = [f"blk.{at}.ffn_{part}_exps.weight" for at in (0, 1) for part in ("gate", "down", "up")]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"cpu_moe": True}, EXPERTS),
        ({"n_cpu_moe": 1}, EXPERTS[:3]),
        ({"n_cpu_moe": 9999}, EXPERTS),
        ({"override_tensor": r"blk\.1\.ffn_.*_exps=CPU"}, EXPERTS[3:]),
        ({"override_tensor": "attn_q=CPU", "n_cpu_moe": 2},
         [*EXPERTS, *(f"blk.{at}.attn_q{what}.weight" for at in (0, 1) for what in ("", "_norm"))]),
    ],
)  # fmt: skip
def test_tensors_go_to_the_buffer_that_was_said(
    mixture: Path, caplog: pytest.LogCaptureFixture, options: dict[str, Any], names: list[str]
) -> None:
    """llama.cpp tells of each; and what is computed is the same."""
    asked = msgspec.structs.replace(wanted(**options), model_path=str(mixture))
    plain = msgspec.structs.replace(asked, tensor_buffers=())
    with caplog.at_level("DEBUG", "forge.llama"):
        models = [Model(plain), Model(asked)]
    moved = [found[1] for line in caplog.messages if (found := MOVED.match(line))]
    assert sorted(moved) == sorted(names)
    try:
        assert logits(models[0], plain) == logits(models[1], asked)
    finally:
        for model in models:
            model.close()
    assert any("--cpu-moe" in line for line in caplog.messages), "there is no GPU to spare"


def test_a_buffer_that_there_is_none_of_is_told(mixture: Path) -> None:
    asked = wanted(model=mixture, override_tensor="exps=CUDA7")
    with pytest.raises(LoadFailed, match="there is no buffer 'CUDA7', but CPU"):
        Model(asked)


def test_a_pattern_that_is_none_is_told(mixture: Path) -> None:
    asked = wanted(model=mixture, override_tensor="exps(=CPU")
    with pytest.raises(LoadFailed, match=r"llama\.cpp can't load this model"):
        Model(asked)
