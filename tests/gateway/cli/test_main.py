"""The command line in process: its parser, its help, and how it fails."""

import argparse
import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli.main import build_parser, default_text, main
from gateway.config.config import Config
from gateway.config.llama_server_compat import ALIASES, ELSEWHERE, HUB, NOTES, SAME, SWITCHES
from gateway.config.sources import load
from gateway.system import log_setup


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Config.model_fields:
        monkeypatch.delenv(f"FORGE_{name.upper()}", raising=False)


def options() -> dict[str, argparse.Action]:
    """The options of ``forge serve`` by their name on the command line."""
    commands = build_parser()._subparsers
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


def test_only_what_was_given_is_in_the_namespace() -> None:
    """Else a default would win over the environment."""
    assert vars(build_parser().parse_args(["serve"])) == {"command": "serve"}
    given = vars(build_parser().parse_args(["serve", "--no-repack", "--port", "1"]))
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
        "from gateway.cli import main\nfrom gateway.system import log_setup\n"
        f"log_setup.configure('warning', {form!r}, '%(name)s')\n"
        f"main._tell('measured\\n', {form!r})"
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
    given = vars(build_parser().parse_args(["serve", flag, "7"]))
    assert given == {"command": "serve", name: "7"}


def parsed(*arguments: str) -> dict[str, object]:
    return vars(build_parser().parse_args(["serve", *arguments]))


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


ELSEWHERE_FLAGS = [(flag, row.instead) for row in ELSEWHERE for flag in row.flags]


@pytest.mark.parametrize(("flag", "instead"), ELSEWHERE_FLAGS)
def test_what_is_llama_servers_alone_is_told_of(flag: str, instead: str) -> None:
    expected = f"forge serve: error: {flag} is llama-server's; here there is {instead}"
    assert refused(flag, "1") == refused(f"{flag}=1") == expected
    assert flag not in options()


def test_what_is_said_of_llama_servers_options_is_about_ours() -> None:
    assert set(SAME) <= set(Config.model_fields)
    assert set(ALIASES) | set(SWITCHES) | set(NOTES) <= set(SAME)
    flags = [flag for flag, _ in ELSEWHERE_FLAGS]
    assert len(flags) == len(set(flags))
    mentioned = {
        option
        for text in (*NOTES.values(), *(row.instead for row in ELSEWHERE))
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]+", text)
    }
    assert "--slots" in mentioned
    assert mentioned - set(options()) == {"--load-mode", "-ub"}
