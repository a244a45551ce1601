"""Error lines, exit codes and progress of all commands."""

import os
import re
import signal

import pytest

from gateway.cli import console
from gateway.cli.console import Exit
from gateway.cli.progress import Progress


class Refused(Exception):
    """A wrong argument."""


class Failed(Exception):
    """No answer."""


class NotYet(Refused, Failed):
    """An argument that is right on another day."""


def run(error: BaseException | None) -> Exit:
    def work() -> None:
        if error is not None:
            raise error

    return console.run("x", work, refused=(Refused,), failed=(Failed,), interrupted="gone")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (Refused("no\x1b[2J"), 2, "forge x: error: no\\x1b[2J\n"),
        (Failed("silent"), 1, "forge x: error: silent\n"),
        (NotYet("later"), 1, "forge x: error: later\n"),
        (KeyboardInterrupt(), 130, "forge x: gone\n"),
    ],
)
def test_an_end_has_its_code_and_its_line(
    error: BaseException | None, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(error) == code
    assert capsys.readouterr() == ("", line)


def test_an_error_that_is_no_users_fault_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())


def test_work_may_say_its_own_code() -> None:
    assert console.run("x", lambda: Exit.FAILED, refused=()) == Exit.FAILED


def test_a_signal_interrupts_and_its_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), console.interrupted_by(signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_bytes_have_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("bytes") as progress:
        for done in (1024, 1536, 2048, 2048):
            progress("model", done, 2048)
        progress("other", 0, None)
    assert capsys.readouterr().err.splitlines() == [
        "model: 2 KiB, 1 KiB are here",
        "model: all of it is here",
        "other: of unknown size",
    ]


def test_steps_have_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("gateway.cli.progress.time.monotonic", lambda: now)
    with Progress("steps") as progress:
        progress("to Q4", 1, 8, "weights")
        now = 11.0
        progress("to Q4", 2, 8, "weights")
        progress("to Q4", 3, 8, "weights")
    assert capsys.readouterr().err == "to Q4: 2 of 8\n"


def test_lines_have_their_rate_and_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("gateway.cli.progress.time.monotonic", lambda: now)
    with Progress("lines") as progress:
        progress("lines", 400, 1000, "")  # those were there before
        now = 10.5
        progress("lines", 400, 1000, "0 failed")
        now = 21.0
        progress("lines", 500, 1000, "2 failed")
        now = 210.0
        progress("lines", 800, 1000, "3 failed")
    assert capsys.readouterr().err.splitlines() == [
        "lines: 400 of 1000, 0 failed",
        "lines: 500 of 1000, 2 failed, 105 s left",
        "lines: 800 of 1000, 3 failed, 105 s left",
    ]


def test_seconds_are_for_terminals_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("seconds") as progress:
        progress("tune", 1.5, 120, "decode")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("unit", ["bytes", "steps", "lines", "seconds"])
def test_a_terminal_shows_a_bar(
    unit: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress(unit) as progress:  # type: ignore[arg-type]
        progress("[name]", 1, 2, "detail")
    shown = capsys.readouterr().err
    assert ("detail" if unit == "seconds" else "[name]") in shown
    assert "━" in shown


def test_a_narrow_terminal_has_the_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    with Progress("lines") as progress:
        progress("lines", 99, 900, "9.4/s, 3 failed")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "━" not in shown
    assert " 99/900" in shown
    assert "9.4/s, 3 failed" in shown
