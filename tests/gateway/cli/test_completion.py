"""forge completion: the scripts hold what the parser knows, and bash completes by them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.cli import completion
from gateway.cli.main import build_parser, main

COMMANDS = {each.name: each for each in completion.commands_of(build_parser())}
BASH = shutil.which("bash")


def completed(tmp_path: Path, *words: str) -> list[str]:
    """Return the words that bash offers for the last of these."""
    assert BASH is not None
    file = tmp_path / "forge.bash"
    file.write_text(completion.script(build_parser(), "bash"))
    source = (
        'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _forge;'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = [BASH, "--norc", "-eu", "-c", source, str(file), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="no bash here")
def test_bash_completes(tmp_path: Path) -> None:
    assert completed(tmp_path, "forge", "se") == ["serve"]
    assert set(completed(tmp_path, "forge", "")) == {*COMMANDS, "--help", "--version"}
    assert completed(tmp_path, "forge", "serve", "--aging") == ["--aging-rate"]
    assert set(completed(tmp_path, "forge", "serve", "--no-sp")) == {"--no-spare"}
    levels = completed(tmp_path, "forge", "serve", "--log-level", "")
    assert "debug" in levels
    assert all(not each.startswith("-") for each in levels)
    assert completed(tmp_path, "forge", "completion", "fi") == ["fish"]
    assert completed(tmp_path, "forge", "cache", "cl") == ["clear"]
    # The shell completes files by itself, where nothing is offered.
    assert completed(tmp_path, "forge", "serve", "--model", "") == []
    assert completed(tmp_path, "forge", "no-such-command", "") == []


@pytest.mark.skipif(BASH is None, reason="no bash here")
def test_bash_uses_it(tmp_path: Path) -> None:
    """With the command registered as a user's shell has it."""
    assert BASH is not None
    source = completion.script(build_parser(), "bash") + "complete -p forge\n"
    done = subprocess.run([BASH, "--norc"], input=source, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "complete -o bashdefault -o default -F _forge forge"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_every_long_option_is_there(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert len(COMMANDS) > 10
    for command in COMMANDS.values():
        assert command.name in text
        for option in command.options:
            for flag in option.flags:
                assert (flag if shell != "fish" else flag.lstrip("-")) in text
    if (program := shutil.which(shell)) is not None:
        done = subprocess.run([program, "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_choices_are_found() -> None:
    options = {flag: each for each in COMMANDS["serve"].options for flag in each.flags}
    assert options["--preempt"].choices == ("on", "off")
    assert "q8_0" in options["--cache-type-k"].choices
    assert options["--spare"].value is False
    assert options["--port"].choices == ()
    assert all("'" not in each.help for each in options.values())
