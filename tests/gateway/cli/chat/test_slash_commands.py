"""Input as it is typed: words, commands, several lines."""

import pytest

from gateway.cli.chat.slash_commands import COMMANDS, Command, Unknown, help_text, parse, unfinished


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hello", "hello"),
        ("/help", Command("help")),
        ("  /SAVE  a file.json ", Command("save", "a file.json")),
        ("/quit", Command("exit")),
        ("/?", Command("help")),
        ("/system You are\\\nbrief.", Command("system", "You are\nbrief.")),
        ('/system """You are\n\nbrief."""', Command("system", "You are\n\nbrief.")),
        ("//help is a command", "/help is a command"),
        ("/etc/passwd is a file", "/etc/passwd is a file"),
        ("/ is the root", "/ is the root"),
        ("one\\\ntwo", "one\ntwo"),
        ('"""\none\n  two\n"""', "one\n  two"),
        ('"""', '"""'),
    ],
)
def test_what_is_meant(text: str, meant: Command | str) -> None:
    assert parse(text) == meant


def test_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(Unknown, match="did you mean /priority"):
        parse("/priorty urgent")
    with pytest.raises(Unknown, match="/help"):
        parse("/xyzzy")


@pytest.mark.parametrize(
    ("text", "more"),
    [("one", False), ("one\\", True), ('"""one', True), ('"""one"""', False), ("", False)],
)
def test_whether_more_lines_follow(text: str, *, more: bool) -> None:
    assert unfinished(text) is more


def test_help_tells_of_all_commands() -> None:
    assert all(f"/{name}" in help_text() for name in COMMANDS)
