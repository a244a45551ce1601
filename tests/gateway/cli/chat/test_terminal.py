"""Text in the terminal: what is shown, and what is not."""

import io

from gateway.cli.chat.terminal import Screen, harmless


class Terminal(io.StringIO):
    """One that shows colours."""

    def isatty(self) -> bool:
        return True


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    assert harmless("\x1b]0;owned\x07a\tb\nc\x9b31m\x00\x7f") == "]0;owneda\tb\nc31m"
    assert harmless("héllo 👩‍👩‍👧 日本") == "héllo 👩‍👩‍👧 日本"
    assert harmless("\ud800x").encode() == b"x"


def test_thoughts_are_dim_and_apart_from_the_answer() -> None:
    out = Terminal()
    screen = Screen(out, {})
    screen.text("", "hm")
    screen.text("four", "")
    screen.end()
    screen.note("1 token")
    assert out.getvalue() == "\x1b[2mhm\x1b[0m\nfour\n\x1b[2m1 token\n\x1b[0m"


def test_a_file_gets_no_colours() -> None:
    for out, environment in ((io.StringIO(), {}), (Terminal(), {"NO_COLOR": "1"})):
        screen = Screen(out, environment)
        screen.text("", "hm")
        screen.text("four", "")
        screen.note("1 token")
        assert out.getvalue() == "hm\nfour\n1 token\n"


def test_notes_begin_on_a_line_of_their_own() -> None:
    out = io.StringIO()
    screen = Screen(out, {})
    screen.text("a whole line\n", "")
    screen.note("note")
    screen.text("half", "")
    screen.note("note")
    assert out.getvalue() == "a whole line\nnote\nhalf\nnote\n"
