"""The command line in process: its parser, its help, and how it fails."""

import argparse
import contextlib
import io
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli.main import build_parser, default_text, main
from gateway.config.config import Config
from gateway.config.llama_server_compat import translated
from gateway.config.llama_server_options import (
    ALIASES,
    ELSEWHERE,
    HUB,
    MAYBE,
    NOTES,
    SAME,
    SWITCHES,
    VALUES,
    Elsewhere,
)
from gateway.config.sources import load
from gateway.system import log_setup


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Config.model_fields:
        monkeypatch.delenv(f"FORGE_{name.upper()}", raising=False)


@cache
def parser() -> argparse.ArgumentParser:
    """Return a parser that all tests use."""
    return build_parser()


@cache
def options() -> dict[str, argparse.Action]:
    """The options of ``forge serve`` by their name on the command line."""
    commands = parser()._subparsers
    assert commands is not None
    (choice,) = commands._group_actions
    assert isinstance(choice.choices, dict)
    serve = choice.choices["serve"]
    assert isinstance(serve, argparse.ArgumentParser)
    return {flag: action for action in serve._actions for flag in action.option_strings}


def help_text(*arguments: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 0
    return out.getvalue()


def refused(*arguments: str) -> str:
    """The one line that ``forge serve`` prints when its configuration is wrong."""
    err, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        code = main(["serve", *arguments])
    assert code == 2
    assert out.getvalue() == ""
    (line,) = err.getvalue().splitlines()
    assert line.startswith("forge serve: error: ")
    return line


def test_every_field_is_an_option_and_the_other_way_round() -> None:
    fields = {"--" + name.replace("_", "-") for name in Config.model_fields}
    switches = [name for name, field in Config.model_fields.items() if field.annotation is bool]
    extra = {"--config", "--version", "--help", "-h"}
    extra |= {"--no-" + name.replace("_", "-") for name in switches}
    extra.update(HUB, *ALIASES.values(), *(flags for each in SWITCHES.values() for flags in each))
    assert set(options()) == fields | extra


@pytest.mark.parametrize("name", sorted(Config.model_fields))
def test_help_tells_meaning_and_default(name: str) -> None:
    field = Config.model_fields[name]
    assert field.description
    text = options()["--" + name.replace("_", "-")].help
    assert text is not None
    assert field.description.replace("%", "%%") in text
    assert text.endswith(f"(default: {default_text(field)})".replace("%", "%%"))


def test_default_texts() -> None:
    texts = {name: default_text(field) for name, field in Config.model_fields.items()}
    # A path of this machine would be wrong in the documentation.
    assert texts["model"] == "the embedded forge-tiny"
    assert (texts["alias"], texts["repack"], texts["aging_rate"]) == ("none", "auto", "0.2")
    assert (texts["api_key"], texts["cors_origin"]) == ("none", "none")


def test_help_is_printed() -> None:
    assert "serve" in help_text("--help")
    assert "--aging-rate RATE" in help_text("serve", "--help")
    for place in (("--version",), ("serve", "--version")):
        assert help_text(*place) == f"forge {__version__}\n"


@pytest.mark.parametrize("arguments", [("tune", "--seconds"), ("quantize", "--threads"),
                                       ("chat", "--max-tokens"), ("serve", "-ub"),
                                       ("serve", "-np"), ("serve", "-c")])  # fmt: skip
def test_thousands_of_digits_are_one_short_line(
    arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert main([*arguments, "9" * 5000]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"forge {arguments[0]}: error: ")
    assert len(line) < 250


def test_only_what_was_given_is_in_the_namespace() -> None:
    """Else a default would win over the environment."""
    assert vars(parser().parse_args(["serve"])) == {"command": "serve"}
    given = vars(parser().parse_args(["serve", "--no-repack", "--port", "1"]))
    assert given == {"command": "serve", "repack": "off", "port": "1"}


@pytest.mark.parametrize("arguments", [[], ["sing"], ["serve", "--nonsense"], ["serve", "--port"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert "error: " in captured.err.splitlines()[-1]


def test_bad_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert refused("--port", "http").startswith("forge serve: error: --port: ")
    assert "--model: can't read" in refused("--model", str(tmp_path / "none.gguf"))
    assert "--model" in refused("--model", __file__)
    assert "--model: can't read none.gguf" in refused("none.gguf", "--port", "0")
    assert refused("a.gguf", "--model", "b.gguf").endswith(
        "--model: expected once, and MODEL is a.gguf"
    )
    assert refused("org/repo").endswith("; the hub's is hf:org/repo")
    assert "the hub's" not in refused("folder/file.gguf")
    assert "--config: can't read" in refused("--config", str(tmp_path / "none.toml"))
    monkeypatch.setenv("FORGE_SLOTS", "0")
    assert "FORGE_SLOTS: expected 'auto'" in refused()


def model(path: Path) -> str:
    file = path / "m.gguf"
    file.write_bytes(b"GGUF")
    return str(file)


def test_host_that_does_not_resolve(tmp_path: Path) -> None:
    # An address with a port in it can't resolve, whatever the name server says.
    line = refused("--host", "127.0.0.1:80", "--model", model(tmp_path))
    assert "--host: can't listen on 127.0.0.1:80:8080: " in line


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_is_told_at_the_start_is_in_the_logs_form(form: log_setup.Format) -> None:
    source = (
        "from gateway.cli.serve import command\nfrom gateway.system import log_setup\n"
        f"log_setup.configure('warning', {form!r}, '%(name)s')\n"
        f"command.tell('measured\\n', {form!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    if form == "json":
        assert json.loads(line)["message"] == "measured"
    else:
        assert line == r"forge serve: measured\n"


@pytest.mark.parametrize(
    ("flag", "name"), [(flag, name) for name, flags in ALIASES.items() for flag in flags]
)
def test_names_of_llama_server_are_taken_for_ours(flag: str, name: str) -> None:
    given = vars(parser().parse_args(["serve", flag, "7"]))
    assert given == {"command": "serve", name: "7"}


def parsed(*arguments: str) -> dict[str, object]:
    return vars(parser().parse_args(["serve", *arguments]))


def test_switches_of_llama_server() -> None:
    assert parsed("-nkvo")["kv_offload"] is False
    assert parsed("-nkvo", "-kvo")["kv_offload"] is True
    assert parsed("-nr")["repack"] == parsed("--no-repack")["repack"] == "off"
    assert parsed("--repack")["repack"] == "on"
    assert parsed("--repack", "auto")["repack"] == "auto"
    assert parsed("-kvu")["kv_unified"] == parsed("--kv-unified", "-nr")["kv_unified"] == "on"
    assert parsed("-no-kvu")["kv_unified"] == parsed("--no-kv-unified")["kv_unified"] == "off"
    assert parsed("--kv-unified", "auto")["kv_unified"] == "auto"
    assert parsed("-kvu", "-no-kvu")["kv_unified"] == "off"
    assert parsed("--no-mmap", "--mlock") == {"command": "serve", "mmap": False, "mlock": True}


def test_a_repository_as_llama_server_has_it() -> None:
    assert parsed("-hf", "org/repo:Q8_0")["model"] == "hf:org/repo:Q8_0"


def test_overrides_may_be_said_several_times() -> None:
    given = parsed("--override-kv", "a=int:1", "--override-kv", 'b=str:x,"c=str:y,z"')
    del given["command"]
    assert load(given, {}, None).override_kv == ("a=int:1", "b=str:x", "c=str:y,z")


def test_buffers_of_tensors_may_be_said_several_times() -> None:
    given = parsed("-ot", "a=CPU", "--override-tensor", "b=CUDA0,c=CPU", "-cmoe", "-ncmoe", "2")
    del given["command"]
    found = load(given, {}, None)
    assert found.override_tensor == ("a=CPU", "b=CUDA0", "c=CPU")
    assert (found.cpu_moe, found.n_cpu_moe) == (True, 2)


ELSEWHERE_FLAGS = [(flag, row) for row in ELSEWHERE for flag in row.flags]


@pytest.mark.parametrize(
    ("flag", "instead"), [(flag, row.instead) for flag, row in ELSEWHERE_FLAGS if not row.taken]
)
def test_what_is_llama_servers_alone_is_told_of(flag: str, instead: str) -> None:
    expected = f"forge serve: error: {flag} is llama-server's; here there is {instead}"
    assert refused(flag, "1") == refused(f"{flag}=1") == expected
    assert flag not in options()


SAMPLES = {"--load-mode": "mmap+mlock", "-lm": "none", "--reasoning-format": "deepseek",
           "-rea": "auto", "--reasoning": "auto", "--samplers": "top_k", "--sampler-seq": "k",
           "--sampling-seq": "k", "-l": "7+1", "--logit-bias": "7+1", "--mirostat": "0",
           "--adaptive-target": "-1", "--embd-normalize": "2"}  # fmt: skip


@pytest.mark.parametrize(("flag", "row"), [each for each in ELSEWHERE_FLAGS if each[1].taken])
def test_what_does_no_harm_is_taken(flag: str, row: Elsewhere) -> None:
    """With a line that says what was done, and nothing of it is left for Forge's own parser."""
    assert row.taken is not None
    assert flag not in options()
    values = [SAMPLES.get(flag, "7")] if row.taken.values else []
    found = translated(["--port", "0", flag, *values, "--mlock"])
    given = vars(parser().parse_args(["serve", *found.arguments]))
    assert {"command": "serve", "port": "0", "mlock": True}.items() <= given.items()
    (note,) = found.notes
    assert note.startswith(f"{flag} {values[0]}, " if values else f"{flag}, ")
    assert note.endswith(row.instead)
    if values:
        assert translated([f"{flag}={values[0]}"]).notes == found.notes
    if row.taken.values == 1:
        assert refused(flag) == f"forge serve: error: {flag}: expected one argument"
    if row.taken.values == MAYBE:
        assert translated([flag, "--mlock"]).arguments == ["--mlock"]


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("-np 4", "--slots 4"), ("-np -1", ""), ("--slots -np 3", "--slots 3"),
        ("--slots 5", "--slots 5"), ("-np 4 --slots 5", "--slots 4 --slots 5"),
        ("-ub 64", "--batch 128"), ("-ub 1024", "--batch 1024"),
        ("-b 256 -ub 512", "--batch 512 -b 256"),
        ("-c 0", ""), ("-c 4096", "-c 4096"), ("--ctx-size=0", ""), ("-t -1", ""),
        ("-cram -1", "--cache-ram auto"), ("-cram 100", "-cram 100"), ("-ngl auto", ""),
        ("-ngl all", "-ngl all"), ("-lm mlock", "--no-mmap --mlock"), ("-lm dio", "--no-mmap"),
        ("-lv 3", "--log-level info"), ("-lv 9", "--log-level debug"),
        ("--sse-ping-interval 10", "--keepalive 10"), ("--sse-ping-interval -1", ""),
        ("-v --no-webui", "--log-level debug --no-page"), ("-fit", ""), ("-fit on", ""),
        ("-rea off", "--reasoning-budget 0"), ("--reasoning=auto", ""),
        ("--keep-alive -1", "--keep-alive -1"), ("", ""),
    ],
)  # fmt: skip
def test_a_line_of_llama_server_in_our_words(line: str, ours: str) -> None:
    assert translated(line.split()).arguments == ours.split()


@pytest.mark.parametrize(
    "arguments", [("--reasoning-format", "none"), ("-lm", "tape"), ("-rea", "on")]
)
def test_values_that_mean_something_are_not_left_out(arguments: tuple[str, str]) -> None:
    assert refused(*arguments).startswith(f"forge serve: error: {arguments[0]} is llama-server's")


def test_flash_attention_without_a_value_is_on() -> None:
    assert parsed("-fa", "--mlock")["flash_attn"] == "on"
    assert parsed("-fa", "off")["flash_attn"] == "off"


def test_what_is_said_of_llama_servers_options_is_about_ours() -> None:
    assert set(SAME) <= set(Config.model_fields)
    assert set(ALIASES) | set(SWITCHES) | set(NOTES) <= set(SAME)
    flags = [flag for flag, _ in ELSEWHERE_FLAGS]
    assert not set(flags) & set(VALUES)
    assert len(flags) == len(set(flags))
    mentioned = {
        option
        for text in (*NOTES.values(), *(row.instead for row in ELSEWHERE))
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]+", text)
    }
    assert "--batch" in mentioned
    assert mentioned - set(options()) == {"--load-mode", "-ub"}
