"""What a log record looks like when its text would like to be more than one."""

import logging

import pytest

from gateway.logs import OneLine, escaped

FORGED = "x\r\n2026-01-01 00:00:00,000 ERROR forge.pool all is lost"


def record(message: str, *arguments: object, error: BaseException | None = None) -> str:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("n", logging.ERROR, "f", 1, message, arguments, exc_info)
    return OneLine("%(levelname)s %(message)s").format(made)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü 你 \U0001f600", "plain ü 你 \U0001f600"),
        ("a\r\n\tb\0", r"a\r\n\tb\x00"),
        ("\x1b[2J\x7f\x9b", r"\x1b[2J\x7f\x9b"),
        ("\u2028\u2029\x85\u202e\ud800", r"\u2028\u2029\x85\u202e\ud800"),
        ("", ""),
    ],
)
def test_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_a_message_is_one_line() -> None:
    assert record("at %s", FORGED) == f"ERROR at {escaped(FORGED)}"
    assert len(record("at %s", FORGED).splitlines()) == 1


def test_an_exception_is_indented() -> None:
    try:
        raise ValueError(FORGED + "\x1b[2J")
    except ValueError as error:
        text = record("failed\n", error=error)
    first, *others = text.splitlines()
    assert first == "ERROR failed"
    assert others[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in others)
    assert r"all is lost\x1b[2J" in others[-1]
    assert "\x1b" not in text


def test_a_stack_is_indented_too() -> None:
    made = logging.LogRecord("n", logging.ERROR, "f", 1, "m", (), None, sinfo="Stack\n" + FORGED)
    first, *others = OneLine("%(message)s").format(made).splitlines()
    assert first == "m"
    assert len(others) == 2 + 1
    assert all(line.startswith("    ") for line in others)
