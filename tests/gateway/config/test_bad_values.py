"""Faults of the configuration: each is said in one line, which names its source."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import ConfigError
from gateway.config.sources import load
from gateway.core.header_priority import HeaderRule
from gateway.core.validation import shown
from tests.gateway.config.written import one_line, toml

BAD: list[tuple[str, str]] = [
    ("alias", ""),
    ("host", ""),
    ("port", "65536"),
    ("port", "-1"),
    ("port", "http"),
    ("port", "80.5"),
    ("workers", "0"),
    ("workers", "many"),
    ("slots", "129"),
    ("slots", "0"),
    ("threads", "-1"),
    ("ctx", "31"),
    ("ctx", "Auto"),
    ("cache_ram", "-1"),
    ("cache_disk", "-1"),
    ("cache_disk", "auto"),
    ("cache_ram", "1e3"),
    ("batch", "127"),
    ("batch", "8193"),
    ("target_itl_ms", "0"),
    ("target_itl_ms", "nan"),
    ("target_itl_ms", "60001"),
    ("target_itl_ms", "urgent=0"),
    ("target_itl_ms", "soon=50"),
    ("target_itl_ms", "urgent=50,urgent=60"),
    ("target_itl_ms", "urgent=50,,"),
    ("cache_type_k", "f8"),
    ("cache_type_v", "F16"),
    ("flash_attn", "true"),
    ("repack", "maybe"),
    ("n_gpu_layers", "-2"),
    ("n_gpu_layers", "most"),
    ("mmap", "maybe"),
    ("mlock", "2"),
    ("numa", "mirror"),
    ("main_gpu", "-1"),
    ("main_gpu", "128"),
    ("split_mode", "half"),
    ("tensor_split", "a,b"),
    ("tensor_split", ""),
    ("tensor_split", "3,"),
    ("tensor_split", "1,-1"),
    ("tensor_split", "0,0"),
    ("tensor_split", "1,nan"),
    ("kv_offload", "perhaps"),
    ("adapters", "legal.gguf"),
    ("adapters", "=legal.gguf"),
    ("adapters", "legal="),
    ("adapters", "a=1,a=2"),
    ("adapters", "a\nb=1"),
    ("adapters", "x" * 257 + "=1"),
    ("adapters", ",".join(f"a{at}=1" for at in range(65))),
    ("lora", "a,,b"),
    ("lora_scaled", "a"),
    ("lora_scaled", "a:much"),
    ("lora_scaled", ":1"),
    ("lora_scaled", "a:1e9"),
    ("lora_init_without_apply", "perhaps"),
    ("override_kv", ""),
    ("override_kv", "key"),
    ("override_kv", "=int:1"),
    ("override_kv", "key=int"),
    ("override_kv", "key=long:1"),
    ("override_kv", "key=int:1.5"),
    ("override_kv", "key=int:9223372036854775808"),
    ("override_kv", "key=float:inf"),
    ("override_kv", "key=float:much"),
    ("override_kv", "key=bool:1"),
    ("override_kv", "key=str:" + "ü" * 64),
    ("override_kv", "k" * 128 + "=int:1"),
    ("override_kv", "good=int:1,bad"),
    ("override_tensor", ""),
    ("override_tensor", "exps"),
    ("override_tensor", "=CPU"),
    ("override_tensor", "exps="),
    ("override_tensor", "exps=CPU,"),
    ("override_tensor", "exps=a b"),
    ("override_tensor", "x" * 1025 + "=CPU"),
    ("cluster", "ray://head:10001"),
    ("cluster", "head"),
    ("cluster", "head:6379/x"),
    ("node_resources", "CPU"),
    ("node_resources", "CPU=many"),
    ("node_resources", "CPU=1.5"),
    ("node_resources", "CPU=-1"),
    ("node_resources", "memory=1"),
    ("node_resources", "a b=1"),
    ("node_labels", "region"),
    ("node_labels", "region=a b"),
    ("node_labels", "=a"),
    ("node_placement", "strict"),
    ("cpu_moe", "some"),
    ("n_cpu_moe", "-1"),
    ("n_cpu_moe", "10000"),
    ("rope_scaling", "longrope"),
    ("rope_scale", "-1"),
    ("rope_scale", "inf"),
    ("yarn_orig_ctx", "-1"),
    ("yarn_orig_ctx", "2147483648"),
    ("yarn_ext_factor", "-2"),
    ("yarn_attn_factor", "nan"),
    ("yarn_beta_slow", "slow"),
    ("yarn_beta_fast", "1e7"),
    ("rope_freq_base", "-1"),
    ("rope_freq_scale", "nan"),
    ("reasoning_budget", "-2"),
    ("reasoning_budget", "2147483648"),
    ("chat_template", ""),
    ("chat_template", "gpt-oss"),
    ("chat_template", "template.jinja"),
    ("chat_template_file", "nowhere.jinja"),
    ("chat_template_file", "/"),
    ("chat_template_file", "\0"),
    ("aging_rate", "-0.1"),
    ("aging_rate", "nan"),
    ("aging_rate", "inf"),
    ("max_body", "1023"),
    ("max_connections", "0"),
    ("max_connections", "all"),
    ("header_timeout", "0"),
    ("header_timeout", "inf"),
    ("body_timeout", "0"),
    ("body_timeout", "nan"),
    ("idle_timeout", "0"),
    ("idle_timeout", "never"),
    ("keepalive", "0"),
    ("keepalive", "nan"),
    ("drain_timeout", "-1"),
    ("drain_timeout", "nan"),
    ("header_priority", ""),
    ("header_priority", "user-agent"),
    ("header_priority", "user-agent: *"),
    ("header_priority", "user-agent: * = soon"),
    ("header_priority", "user agent: * = urgent"),
    ("header_priority", "user-agent: = urgent"),
    ("cors_origin", ""),
    ("cors_origin", "example.com"),
    ("cors_origin", "https://example.com/"),
    ("cors_origin", "https://a.example, https://b.example/path"),
    ("cors_origin", "https://user@example.com"),
    ("cors_origin", "https://example.com:port"),
    ("cors_origin", "null"),
    ("log_level", "trace"),
    ("log_level", "a\nb"),
    ("log_format", "xml"),
    ("ollama_version", "latest"),
    ("ollama_version", "0.17"),
    ("ollama_version", "0.17.0\nx"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_value_names_its_source(name: str, value: str, tmp_path: Path) -> None:
    flag, variable = "--" + name.replace("_", "-"), f"FORGE_{name.upper()}"
    key = name.replace("_", "-")
    file = toml(tmp_path, f"{key} = {json.dumps(value)}")
    sources: list[tuple[str, dict[str, Any], dict[str, str], Path | None]] = [
        (flag, {name: value}, {}, None),
        (variable, {}, {variable: value}, None),
        (f"{key} in {file}", {}, {}, file),
        # The one that wins is the one to blame.
        (flag, {name: value}, {variable: value}, file),
    ]
    for source, arguments, environment, path in sources:
        with pytest.raises(ConfigError) as caught:
            load(arguments, environment, path)
        text = one_line(caught)
        assert text.startswith(f"{source}: ")
        assert text.endswith(f"not {shown(value)}")


def test_priorities_by_headers_are_a_table(tmp_path: Path) -> None:
    """In its order, and errors name the rule."""
    lines = '[header-priority]\n"X-Agent: *" = "batch"\n"x-session: a?" = 1.5\n'
    rules = load({}, {}, toml(tmp_path, lines)).header_priority
    assert rules == (HeaderRule("x-agent", "*", 0.0), HeaderRule("x-session", "a?", 1.5))
    for line, reason in (
        ('"x-other: *" = "soon"', "x-other: must be a finite number or one of"),
        ('"x-other: *" = true', "x-other: must be a finite number or one of"),
        ('"x-other" = 1', "expected 'HEADER: PATTERN' = PRIORITY"),
    ):
        file = toml(tmp_path, lines + line)
        with pytest.raises(ConfigError) as caught:
            load({}, {}, file)
        assert one_line(caught).startswith(f"header-priority in {file}: {reason}")
    with pytest.raises(ConfigError, match="expected 'HEADER: PATTERN' = PRIORITY, not True"):
        load({}, {}, toml(tmp_path, "header-priority = true"))


@pytest.mark.parametrize("secret", ["", "not visible ", "not\tvisible", "schlüssel-geheim"])
def test_a_bad_secret_is_not_repeated(secret: str, tmp_path: Path) -> None:
    file = toml(tmp_path, f"api-key = {json.dumps(secret)}")
    sources: list[tuple[str, dict[str, Any], dict[str, str], Path | None]] = [
        ("--api-key", {"api_key": secret}, {}, None),
        ("FORGE_API_KEY", {}, {"FORGE_API_KEY": secret}, None),
        (f"api-key in {file}", {}, {}, file),
    ]
    for source, arguments, environment, path in sources:
        with pytest.raises(ConfigError) as caught:
            load(arguments, environment, path)
        assert one_line(caught) == (
            f"{source}: must be visible ASCII characters without spaces, one at least"
        )


@pytest.mark.parametrize("literal", ["31337", "[31337]", '{secret = "31337"}', "1979-05-27"])
def test_a_secret_of_the_wrong_type_is_not_repeated(literal: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, {}, toml(tmp_path, f"api-key = {literal}"))
    assert "31337" not in one_line(caught).removeprefix(str(tmp_path))
    assert "1979" not in str(caught.value)


def test_auto_options_say_that_auto_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"--slots: expected 'auto' or a whole number in range"):
        load({"slots": "many"}, {}, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no-such-option = 1", r"no-such-option in .*forge\.toml: there is no such option"),
        ("[server]\nport = 1", r"server in .*forge\.toml: there is no such option"),
        ("port = ", r"--config: .*forge\.toml is not valid TOML: .*"),
        ("port = 1\nport = 2", r"--config: .*forge\.toml is not valid TOML: .*"),
        ("port = [1]", r"port in .*forge\.toml: .*, not \[1\]"),
        ("model = 5", r"model in .*forge\.toml: .*, not 5"),
    ],
)
def test_bad_file(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, {}, toml(tmp_path, text))
    assert re.fullmatch(message, one_line(caught))


def test_unreadable_file(tmp_path: Path) -> None:
    broken = tmp_path / "latin.toml"
    broken.write_bytes(b'alias = "\xe4"')
    for path, reason in [
        (tmp_path / "none.toml", "can't read"),
        (tmp_path, "can't read"),
        (broken, "is not valid TOML"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load({}, {}, path)
        assert reason in one_line(caught)
        assert str(path) in str(caught.value)


def test_not_a_gguf(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.gguf", tmp_path / "text.gguf"
    empty.touch()
    text.write_text("GGML?")
    for path, reason in [
        (empty, "is not a GGUF file"),
        (text, "is not a GGUF file"),
        (tmp_path, "can't read"),
        (tmp_path / "none.gguf", "can't read"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load({"model": str(path)}, {}, None)
        assert one_line(caught).startswith("--model: ")
        assert reason in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("source", ["environment", "file"])
def test_bad_model_names_its_source(source: str, tmp_path: Path) -> None:
    file = toml(tmp_path, 'model = "/none.gguf"')
    env = {"FORGE_MODEL": "/none.gguf"}
    with pytest.raises(ConfigError) as caught:
        load({}, env if source == "environment" else {}, file if source == "file" else None)
    name = "FORGE_MODEL" if source == "environment" else f"model in {file}"
    assert one_line(caught).startswith(f"{name}: can't read /none.gguf: ")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(r'model = "a\u0000b"', id="NUL in a path"),
        pytest.param("port = " + "9" * 5000, id="more digits than int() reads"),
        pytest.param("port = " + "[" * 5000, id="nested too deep"),
        pytest.param("port = true", id="bool for a number"),
        pytest.param(r'"a\nb" = 1', id="line break in a key"),
    ],
)
def test_odd_values_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, {}, toml(tmp_path, text))
    one_line(caught)
