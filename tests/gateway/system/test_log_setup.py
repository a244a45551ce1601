"""Records of a log whose text would like to be more than one."""

import json
import logging
import os
import re

import pytest

from gateway.system.log_setup import Json, OneLine, escaped, fields

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


def with_fields(form: logging.Formatter, message: str = "m", **values: object) -> str:
    made = logging.LogRecord("forge.x", logging.INFO, "f", 1, message, (), None)
    made.__dict__.update(fields(**values))
    return form.format(made)


def test_values_come_after_the_message() -> None:
    line = with_fields(OneLine("%(message)s"), "done", id="a1", tokens=3, rate=None, share=0.5)
    assert line == "done id=a1 tokens=3 share=0.5"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('"', r'"\""'),
        ("\\", r'"\\"'),
        (FORGED, r'"x\r\n2026-01-01 00:00:00,000 ERROR forge.pool all is lost"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("\x9b\u202e", r'"\x9b\u202e"'),
        ("\ud800", r'"\ud800"'),
        (["a", {"b": None}], '["a", {"b": null}]'),
        (True, "true"),
    ],
)
def test_no_value_passes_for_two(value: object, shown: str) -> None:
    assert with_fields(OneLine("%(message)s"), "m", v=value, w=1) == f"m v={shown} w=1"


def test_json() -> None:
    text = with_fields(Json(), "done", id="a1", rate=None, prompts=[{"text": "ü 你 \U0001f600"}])
    assert "ü 你 \U0001f600" in text
    found = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found.pop("process") == os.getpid()
    assert found == {
        "level": "info",
        "logger": "forge.x",
        "message": "done",
        "id": "a1",
        "rate": None,
        "prompts": [{"text": "ü 你 \U0001f600"}],
    }


@pytest.mark.parametrize("value", [FORGED, "\x1b[2J\x7f\x9b", "\u2028\u2029\x85\u202e\ud800", "\0"])
def test_json_is_one_line_that_no_terminal_obeys(value: str) -> None:
    text = with_fields(Json(), value, v=value)
    assert text.isprintable()
    found = json.loads(text)
    assert (found["message"], found["v"]) == (value, value)


def test_json_with_a_traceback_is_one_line_too() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        exc_info = (type(error), error, error.__traceback__)
    made = logging.LogRecord(
        "n", logging.ERROR, "f", 1, "m", (), exc_info, sinfo="Stack\n" + FORGED
    )
    text = Json().format(made)
    assert text.isprintable()
    found = json.loads(text)
    assert found["exception"].splitlines()[0].strip() == "Traceback (most recent call last):"
    assert "all is lost" in found["exception"]
    assert "all is lost" in found["stack"]
