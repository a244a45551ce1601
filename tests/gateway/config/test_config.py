"""The configuration: every option in every source, and which of them wins."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.config.adapter_options import NamedAdapter, ScaledAdapter
from gateway.config.config import Config, ConfigError
from gateway.config.media_hosts import MediaHost
from gateway.config.sources import check_model, load
from gateway.core.header_priority import HeaderRule
from tests.gateway.config.written import toml

HERE = Path(__file__).parent

# For every option: the text for file, environment and command line, and the value it becomes.
OPTIONS: dict[str, tuple[Any, Any, Any, Any]] = {
    "model": ("{gguf}", "{gguf}", "{gguf}", None),
    "alias": ("from-file", "from-env", "from-args", "from-args"),
    "host": ("::1", "0.0.0.0", "localhost", "localhost"),
    "port": (1, "2", "3", 3),
    "workers": ("auto", "2", "3", 3),
    "slots": (1, "auto", "3", 3),
    "threads": (1, "2", "auto", "auto"),
    "max_workers": (1, "2", "3", 3),
    "node_resources": ("CPU=1", "GPU=1", "CPU=8, fast=0.5", ("CPU=8", "fast=0.5")),
    "node_labels": ("a=b", "c=d", "region=x,kind=!spot", ("region=x", "kind=!spot")),
    "node_placement": ("spread", "spread", "pack", "pack"),
    "ctx": (64, "65", "66", 66),
    "cache_ram": (1, "auto", "0", 0),
    "cache_disk": (1024, 0, "512", 512),
    "catalog": (False, "false", True, True),
    "batch": (129, "130", "131", 131),
    "adapters": (
        "a=1",
        "a=2",
        "a=3,b=4",
        (NamedAdapter("a", Path("3")), NamedAdapter("b", Path("4"))),
    ),
    "lora": ("1", "2", "3,4", (ScaledAdapter(Path("3"), 1.0), ScaledAdapter(Path("4"), 1.0))),
    "lora_scaled": (
        "1:1",
        "2:1",
        "3:0.5,c:d:-2",
        (ScaledAdapter(Path("3"), 0.5), ScaledAdapter(Path("c:d"), -2.0)),
    ),
    "lora_init_without_apply": (False, "false", True, True),
    "lora_dir": ("a", "b", "c", Path("c")),
    "target_itl_ms": (30, "auto", "60.5", 60.5),
    "speculative": ("auto", "auto", "off", "off"),
    "cache_type_k": ("f32", "bf16", "q8_0", "q8_0"),
    "cache_type_v": ("f32", "bf16", "q4_0", "q4_0"),
    "flash_attn": ("auto", "on", "off", "off"),
    "kv_unified": ("auto", "on", "off", "off"),
    "repack": (True, "true", "auto", "auto"),
    "mmap": (True, "true", False, False),
    "mlock": (False, "false", True, True),
    "mmproj": ("auto", "none", "none", "none"),
    "image_min_tokens": (1, "2", "3", 3),
    "image_max_tokens": (1, "2", "3", 3),
    "media_pixels": (1, "2", "3", 3),
    "media_seconds": (1, "2", "0.5", 0.5),
    "numa": ("off", "isolate", "distribute", "distribute"),
    "n_gpu_layers": (1, "2", "all", -1),
    "main_gpu": (1, "2", "3", 3),
    "split_mode": ("layer", "row", "none", "none"),
    "tensor_split": ("1", "2,1", "3/1,0.5", (3.0, 1.0, 0.5)),
    "kv_offload": (True, "true", False, False),
    "override_kv": ("a=int:1", "b=bool:true", 'c=str:x,"d=str:y,z"', ("c=str:x", "d=str:y,z")),
    "override_tensor": ("a=CPU", "b=CPU", r"\.exps=CPU,^c$=CUDA0", (r"\.exps=CPU", "^c$=CUDA0")),
    "cpu_moe": (False, "false", True, True),
    "n_cpu_moe": (1, "2", "3", 3),
    "rope_scaling": ("auto", "none", "yarn", "yarn"),
    "rope_scale": (1.0, "2", "4", 4.0),
    "rope_freq_base": (1.0, "2", "10000", 10000.0),
    "rope_freq_scale": (1.0, "2", "0.5", 0.5),
    "yarn_orig_ctx": (1, "2", "4096", 4096),
    "yarn_ext_factor": (0.5, "-1", "0", 0.0),
    "yarn_attn_factor": (0.5, "-1", "2", 2.0),
    "yarn_beta_slow": (0.5, "-1", "2", 2.0),
    "yarn_beta_fast": (0.5, "-1", "32", 32.0),
    "reasoning_budget": (0, "-1", "2048", 2048),
    "reasoning_budget_message": ("a", "b", "That will do.", "That will do."),
    "chat_template": ("{{ 1 }}", "{{ 2 }}", "{{ 3 }}", "{{ 3 }}"),
    "chat_template_file": (
        f"{HERE}/test_api_keys.py",
        f"{HERE}/test_model_tables.py",
        __file__,
        Path(__file__),
    ),
    "cluster": ("auto", "a:1", "[::1]:6379", "[::1]:6379"),
    "force": (False, "false", True, True),
    "spare": (True, "true", "false", False),
    "tuned": ("auto", "auto", "off", "off"),
    "sampling": ('{"seed": 1}', '{"seed": 2}', '{"seed": 3}', {"seed": 3}),
    "memory_budget": ("auto", "1000", "2000", 2000),
    "keep_alive": (300.0, "10", "5m", 300.0),
    "aging_rate": (1, "2.5", "1e-3", 0.001),
    "max_queue": (10, "20", "30", 30),
    "max_queue_bytes": (1024, "2048", "4096", 4096),
    "queue_timeout": (1, "2", "0.5", 0.5),
    "preempt": ("on", "on", "off", "off"),
    "quantum": (1, "2", "0", 0.0),
    "max_body": (1024, "2048", "4096", 4096),
    "max_media": (1024, "2048", "4096", 4096),
    "media_number": (1, "2", "3", 3),
    "media_hosts": (
        "a.example",
        "b.example",
        "C.example:8443,*.d.example",
        (MediaHost("c.example", 8443), MediaHost("d.example", below=True)),
    ),
    "max_connections": (1, "2", "auto", "auto"),
    "header_timeout": (1, "2", "0.5", 0.5),
    "body_timeout": (1, "2", "0.5", 0.5),
    "idle_timeout": (1, "2", "0.5", 0.5),
    "store_bytes": (1, "2", "0", 0),
    "store_age": (1, "2", "0.5", 0.5),
    "capture": ("header", "always", "header", "header"),
    "capture_age": (1, "2", "0.5", 0.5),
    "capture_bytes": (1 << 20, "2000000", "3000000", 3_000_000),
    "capture_number": (1, "2", "3", 3),
    "capture_size": (1024, "2048", "4096", 4096),
    "redact": ("a", "b", "c", ("c",)),
    "retire_timeout": (1, "2", "0.5", 0.5),
    "usage_days": (1, "2", "0", 0),
    "data_dir": ("a", "b", "c", Path("c")),
    "database": (
        "postgresql://a",
        "postgresql://b",
        "postgres://c",
        SecretStr("postgres://c"),
    ),
    "max_file": (1024, "2048", "4096", 4096),
    "max_stored_bytes": (1, "2", "0", 0),
    "keepalive": (1, "2", "0.5", 0.5),
    "stuck_timeout": (1, "2", "0.5", 0.5),
    "step_timeout": (1, "2", "0.5", 0.5),
    "drain_timeout": (1, "2", "0", 0.0),
    "header_priority": (
        "a: * = 1",
        "b: * = urgent",
        "C: d* = batch, e: f = 2",
        (HeaderRule("c", "d*", 0.0), HeaderRule("e", "f", 2.0)),
    ),
    "api_key": ("from-file", "from-env", "from-args", SecretStr("from-args")),
    "api_key_file": ("a.toml", "b.toml", "c.toml", Path("c.toml")),
    "ssl_keyfile": ("a.pem", "b.pem", "c.pem", Path("c.pem")),
    "ssl_certfile": ("a.pem", "b.pem", "c.pem", Path("c.pem")),
    "cors_origin": ("*", "http://a", "https://B:443, http://c:1", ("https://b", "http://c:1")),
    "metrics": (True, "true", "false", False),
    "llamacpp_metrics": (False, "false", "true", True),
    "page": (True, "true", "false", False),
    "log_level": ("debug", "info", "error", "error"),
    "log_format": ("console", "console", "json", "json"),
    "ollama_version": ("0.14.0", "0.15.0", "1.0.0-rc1", "1.0.0-rc1"),
    "unknown_parameters": ("ignore", "ignore", "refuse", "refuse"),
    "log_prompts": (False, "false", "true", True),
}


def test_table_is_complete() -> None:
    assert set(OPTIONS) == set(Config.model_fields)


def test_defaults_without_any_source(gguf: Path) -> None:
    config = load({"model": gguf}, {}, None)
    assert config.model_dump() == Config(model=gguf).model_dump()
    assert (config.host, config.port, config.aging_rate) == ("127.0.0.1", 8080, 0.2)
    assert config.model_name == "some model.v1"
    assert load({"model": gguf, "alias": "x"}, {}, None).model_name == "x"


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"model"}))
@pytest.mark.parametrize("dashes", [False, True])
def test_precedence(name: str, dashes: bool, gguf: Path, tmp_path: Path) -> None:
    """Command line > environment > file > default, for each option."""
    in_file, in_env, in_args, value = OPTIONS[name]
    key = name.replace("_", "-") if dashes else name
    literal = str(in_file).lower() if isinstance(in_file, bool | int) else json.dumps(in_file)
    file = toml(tmp_path, f"model = '{gguf}'\n{key} = {literal}\n")
    env = {f"FORGE_{name.upper()}": in_env}
    default = Config(model=gguf)

    def effective(arguments: dict[str, Any], environment: dict[str, str]) -> Any:
        config = load(arguments, environment, file)
        others = set(OPTIONS) - {name, "model"}
        assert {o: getattr(config, o) for o in others} == {o: getattr(default, o) for o in others}
        return getattr(config, name)

    def converted(raw: Any) -> Any:
        return getattr(Config(**{name: raw}), name)

    assert effective({}, {}) == converted(in_file)
    assert effective({}, env) == converted(in_env)
    assert effective({name: in_args}, env) == value
    assert effective({name: in_args}, {}) == value


def test_precedence_of_the_model(gguf: Path, tmp_path: Path) -> None:
    others = [tmp_path / f"{n}.gguf" for n in range(2)]
    for other in others:
        other.write_bytes(b"GGUF")
    file = toml(tmp_path, f"model = '{gguf}'")
    env = {"FORGE_MODEL": str(others[0])}
    assert load({}, {}, file).model == gguf
    assert load({}, env, file).model == others[0]
    assert load({"model": str(others[1])}, env, file).model == others[1]


def test_defaults_of_requests_win_field_by_field(tmp_path: Path) -> None:
    """A field that one place does not say may be said in another."""
    file = toml(tmp_path, "[sampling]\ntop-k = 1\ntop_p = 0.1\nseed = 1\n")
    env = {"FORGE_SAMPLING": '{"top_k": 2, "temperature": 2}'}
    arguments = {"sampling": ['{"top_k": 3}', '{"min-p": 0.3, "stop": ["x"]}']}
    found = {"top_p": 0.1, "seed": 1, "temperature": 2, "top_k": 3, "min_p": 0.3, "stop": ["x"]}
    assert load(arguments, env, file).sampling == found


@pytest.mark.parametrize("text", ["", "x", "7", "[]", "[[]]", "[" * 100_000, '{"a": ' + "1" * 4301])
def test_defaults_of_requests_are_an_object(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--sampling: expected a JSON object of a request's"):
        load({"sampling": [text]}, {}, None)


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"model"}))
@pytest.mark.parametrize("text", ["9" * 5000, "-" + "9" * 5000, "9" * 5000 + "s"])
def test_thousands_of_digits_are_a_wrong_value(name: str, text: str) -> None:
    """Python itself refuses to read them; where any text will do they are one."""
    told = refusal({name: text})
    assert told == "" or told.startswith(f"--{name.replace('_', '-')}: ")
    assert len(told) < 500


def refusal(arguments: dict[str, Any]) -> str:
    """The error; "" if there is none."""
    try:
        load(arguments, {}, None)
    except ConfigError as error:
        return str(error)
    return ""


def test_unknown_environment_is_not_ours() -> None:
    """FORGE_ is a common prefix: a variable that is no option may be somebody else's."""
    assert load({}, {"FORGE_SOMETHING": "1", "HOME": "/"}, None) == Config()


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ("*",)),
        ("https://example.com", ("https://example.com",)),
        ("HTTPS://Example.COM:443", ("https://example.com",)),  # as browsers send it
        ("http://example.com:443", ("http://example.com:443",)),
        ("http://localhost:80,http://[::1]:3000", ("http://localhost", "http://[::1]:3000")),
        ("tauri://localhost , http://127.0.0.1", ("tauri://localhost", "http://127.0.0.1")),
    ],
)
def test_origins(text: str, origins: tuple[str, ...], tmp_path: Path) -> None:
    assert load({"cors_origin": text}, {}, None).cors_origin == origins
    listed = toml(tmp_path, "cors-origin = " + json.dumps(text.split(",")))
    assert load({}, {}, listed).cors_origin == origins


def test_the_repr_does_not_show_the_secret(gguf: Path) -> None:
    config = load({"model": gguf, "api_key": "sk-hidden"}, {}, None)
    assert "sk-hidden" not in f"{config!r} {config} {config.worker_spec()}"
    assert config.api_key is not None
    assert config.api_key.get_secret_value() == "sk-hidden"


def test_frozen(gguf: Path) -> None:
    check_model(gguf)
    with pytest.raises(ValidationError):
        Config().port = 1  # type: ignore[misc]
