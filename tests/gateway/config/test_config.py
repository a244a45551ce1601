"""The configuration: which source wins, and one line that names the source of a bad value."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from gateway.config.config import EMBEDDED_MODEL, MIB, Config, ConfigError
from gateway.config.pool_shape import SMALL, PoolShape
from gateway.config.sources import check_model, load
from gateway.core.header_priority import HeaderRule
from gateway.system.host import total_memory

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
    "ctx": (64, "65", "66", 66),
    "cache_ram": (1, "auto", "0", 0),
    "cache_disk": (1024, 0, "512", 512),
    "catalog": (False, "false", True, True),
    "batch": (129, "130", "131", 131),
    "target_itl_ms": (30, "auto", "60.5", 60.5),
    "speculative": ("auto", "auto", "off", "off"),
    "cache_type_k": ("f32", "bf16", "q8_0", "q8_0"),
    "cache_type_v": ("f32", "bf16", "q4_0", "q4_0"),
    "flash_attn": ("auto", "on", "off", "off"),
    "kv_unified": ("auto", "on", "off", "off"),
    "repack": (True, "true", "auto", "auto"),
    "mmap": (True, "true", False, False),
    "mlock": (False, "false", True, True),
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
    "force": (False, "false", True, True),
    "spare": (True, "true", "false", False),
    "tuned": ("auto", "auto", "off", "off"),
    "memory_budget": ("auto", "1000", "2000", 2000),
    "keep_alive": (300.0, "10", "5m", 300.0),
    "aging_rate": (1, "2.5", "1e-3", 0.001),
    "max_queue": (10, "20", "30", 30),
    "max_queue_bytes": (1024, "2048", "4096", 4096),
    "queue_timeout": (1, "2", "0.5", 0.5),
    "preempt": ("on", "on", "off", "off"),
    "quantum": (1, "2", "0", 0.0),
    "max_body": (1024, "2048", "4096", 4096),
    "max_connections": (1, "2", "auto", "auto"),
    "header_timeout": (1, "2", "0.5", 0.5),
    "body_timeout": (1, "2", "0.5", 0.5),
    "idle_timeout": (1, "2", "0.5", 0.5),
    "store_bytes": (1, "2", "0", 0),
    "store_age": (1, "2", "0.5", 0.5),
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


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that begins like a GGUF; more is not read here."""
    path = tmp_path / "some model.v1.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def toml(path: Path, text: str) -> Path:
    file = path / "forge.toml"
    file.write_text(text)
    return file


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def test_table_is_complete() -> None:
    assert set(OPTIONS) == set(Config.model_fields)


def test_defaults_without_any_source(gguf: Path) -> None:
    config = load({"model": gguf}, {}, None)
    assert config == Config(model=gguf)
    assert (config.host, config.port, config.aging_rate) == ("127.0.0.1", 8080, 0.2)
    assert config.model_name == "some model.v1"
    assert load({"model": gguf, "alias": "x"}, {}, None).model_name == "x"


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"model"}))
@pytest.mark.parametrize("dashes", [False, True])
def test_precedence(name: str, dashes: bool, gguf: Path, tmp_path: Path) -> None:
    """Command line > environment > file > default, for each option."""
    in_file, in_env, in_args, value = OPTIONS[name]
    key = name.replace("_", "-") if dashes else name
    literal = str(in_file).lower() if isinstance(in_file, bool | int) else f'"{in_file}"'
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


def test_unknown_environment_is_not_ours() -> None:
    """FORGE_ is a common prefix: a variable that is no option may be somebody else's."""
    assert load({}, {"FORGE_SOMETHING": "1", "HOME": "/"}, None) == Config()


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
        assert text.endswith(f"not {value!r}")


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


def test_the_repr_does_not_show_the_secret(gguf: Path) -> None:
    config = load({"model": gguf, "api_key": "sk-hidden"}, {}, None)
    assert "sk-hidden" not in f"{config!r} {config} {config.worker_spec()}"
    assert config.api_key is not None
    assert config.api_key.get_secret_value() == "sk-hidden"


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


def test_frozen(gguf: Path) -> None:
    check_model(gguf)
    with pytest.raises(ValidationError):
        Config().port = 1  # type: ignore[misc]


# ------------------------------------------------------------------ what it becomes


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
        ("auto", [(0.0, None, 500.0), (1.0, None, 50.0), (2.0, None, 50.0)]),
        ("75", [(0.0, 75.0, 50.0)]),
        (
            "urgent=50, batch=2000",
            [(0.0, 2000.0, 500.0), (1.0, None, 50.0), (2.0, 50.0, 50.0)],
        ),
    ],
)
def test_classes_have_their_own_patience(
    said: str, targets: list[tuple[float, float | None, float]], gguf: Path
) -> None:
    config = load({"model": gguf, "target_itl_ms": said}, {}, None)
    found = config.worker_spec().patience
    assert [(each.priority, each.target_ms, each.floor_ms) for each in found] == targets


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
