"""``forge completion``: scripts that complete commands, options and values in shells.

They are made from the parser, once, so that a key press waits for no Python. A value without
choices is completed as the name of a file.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

NAME = "completion"
HELP_WIDTH = 70


class Choice(NamedTuple):
    """An option of a command."""

    flags: tuple[str, ...]
    help: str
    value: bool
    """True if a value follows."""
    choices: tuple[str, ...]
    """The values, if they are known."""


class CommandWords(NamedTuple):
    """The words that may follow a command."""

    name: str
    help: str
    options: tuple[Choice, ...]
    words: tuple[str, ...]
    """The choices of its arguments without a flag."""


def add_to(commands: Any) -> None:
    """The command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        NAME,
        help="print a script that completes commands and options in a shell",
        description="Print a script that completes commands, options and values in a shell.",
        epilog='bash: eval "$(forge completion bash)" in ~/.bashrc. zsh: forge completion zsh > '
        "~/.zfunc/_forge, with ~/.zfunc in fpath. fish: forge completion fish > "
        "~/.config/fish/completions/forge.fish.",
    )
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell, with everything that ``parser`` knows."""
    return SHELLS[shell](list(commands_of(parser)))


def commands_of(parser: argparse.ArgumentParser) -> Iterator[CommandWords]:
    """Yield the commands of a parser, in its order."""
    (group,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    helps = {each.dest: each.help or "" for each in group._choices_actions}
    for name, command in group.choices.items():
        shown = [each for each in command._actions if each.help is not argparse.SUPPRESS]
        options = tuple(_option(each) for each in shown if each.option_strings)
        bare = (each.choices or () for each in shown if not each.option_strings)
        words = tuple(str(word) for choices in bare for word in choices)
        yield CommandWords(name, helps.get(name, ""), options, words)


def _option(action: argparse.Action) -> Choice:
    choices = tuple(map(str, action.choices or ())) or _listed(action.help or "")
    value = action.nargs != 0
    return Choice(tuple(action.option_strings), _short(action.help or ""), value, choices)


def _listed(text: str) -> tuple[str, ...]:
    """Return the values that a help lists at its end, as ``describe`` writes them: ": a, b"."""
    _, _, values = text.partition(" (default: ")[0].rpartition(": ")
    words = [word.strip() for word in values.split(",")]
    plain = all(word.replace("_", "").isalnum() for word in words)
    return tuple(words) if plain and len(words) > 1 else ()


def _short(text: str) -> str:
    """Return the beginning of a help, without what would mean something to a shell."""
    text = text.replace("%%", "%").partition(" (default")[0].partition(";")[0]
    text = "".join(c if c not in "'\"`$\\[]:" else " " for c in text)
    return text if len(text) <= HELP_WIDTH else text[: HELP_WIDTH - 3].rstrip() + "..."


def bash(commands: list[CommandWords]) -> str:
    """Return the script for bash, from 3.2 on, which macOS has."""
    names = " ".join([*(each.name for each in commands), "--help", "--version"])
    values, words = [], []
    for command in commands:
        for option in command.options:
            if option.value:
                patterns = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
                values.append(f"    {patterns}) words='{' '.join(option.choices)}' ;;")
        flags = [flag for option in command.options for flag in option.flags]
        words.append(f"    {command.name}) words='{' '.join([*command.words, *flags])}' ;;")
    return "\n".join((
        "# Completion of forge in bash.",
        "_forge() {",
        '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=',
        "  COMPREPLY=()",
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f"    words='{names}'",
        '  else case "${COMP_WORDS[1]} $before" in',
        *values,
        '  *) case "${COMP_WORDS[1]}" in',
        *words,
        "  esac ;;",
        "  esac; fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "}",
        "# Where nothing is known, the names of files are completed.",
        "complete -o bashdefault -o default -F _forge forge",
        "",
    ))  # fmt: skip


def zsh(commands: list[CommandWords]) -> str:
    """Return the script for zsh."""
    lines = ["#compdef forge", "# Completion of forge in zsh.", "_forge() {", "  local -a commands"]
    lines.append("  commands=(")
    lines += [f"    '{each.name}:{_short(each.help)}'" for each in commands]
    lines += ["  )", "  if (( CURRENT == 2 )); then _describe command commands; return; fi"]
    lines += ["  local command=$words[2]", "  shift words; (( CURRENT-- ))", "  case $command in"]
    for command in commands:
        lines.append(f"  {command.name}) _arguments -s \\")
        for option in command.options:
            value = f":value:{_zsh_values(option.choices)}" if option.value else ""
            lines += [f"    '{flag}[{option.help}]{value}' \\" for flag in option.flags]
        lines.append(f"    '*:argument:{_zsh_values(command.words)}' ;;")
    return "\n".join([*lines, "  esac", "}", '_forge "$@"', ""])


def _zsh_values(choices: tuple[str, ...]) -> str:
    return f"({' '.join(choices)})" if choices else "_files"


def fish(commands: list[CommandWords]) -> str:
    """Return the script for fish."""
    lines = ["# Completion of forge in fish."]
    for each in commands:
        start = "complete -c forge -n __fish_use_subcommand -f"
        lines.append(f"{start} -a {each.name} -d '{_short(each.help)}'")
    for command in commands:
        start = f"complete -c forge -n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            lines.append(f"{start} -f -a '{' '.join(command.words)}'")
        for option in command.options:
            flags = " ".join(map(_fish_flag, option.flags))
            value = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r"
            lines.append(f"{start} {flags}{value if option.value else ''} -d '{option.help}'")
    return "\n".join([*lines, ""])


def _fish_flag(flag: str) -> str:
    """Return fish's words for a flag: long, of one letter, or long with one dash."""
    if flag.startswith("--"):
        return f"-l {flag[2:]}"
    return f"-s {flag[1:]}" if len(flag) == 2 else f"-o {flag[1:]}"


SHELLS: dict[str, Callable[[list[CommandWords]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
