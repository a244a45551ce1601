"""SIGHUP asks for a reload, or tells that the terminal is gone."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.system.hangup import Hangup


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_without_a_terminal_it_is_a_reload(tmp_path: Path) -> None:
    assert Hangup(str(tmp_path / "none")).meaning() == "reload"


def test_in_a_terminal_that_is_there_it_is_a_reload(tmp_path: Path) -> None:
    (tmp_path / "tty").touch()
    hangup = Hangup(str(tmp_path / "tty"))
    assert hangup.meaning() == "reload"
    (tmp_path / "tty").unlink()
    assert hangup.meaning() == "end"


def test_a_server_that_was_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    (tmp_path / "tty").touch()
    hangup = Hangup(str(tmp_path / "tty"))
    assert hangup.meaning() == "reload"
    (tmp_path / "tty").unlink()
    assert hangup.meaning() == "nothing"


def test_from_the_start_on_it_ends_nothing() -> None:
    Hangup()
    signal.raise_signal(signal.SIGHUP)
