"""The processes of one measurement, when a signal comes at an awkward moment."""

import threading

import pytest

from gateway.cli.tune import trial
from gateway.cli.tune.plan import Setting
from gateway.config.config import Config
from workers.protocol import Measure


class Interrupted(threading.Timer):
    """Its thread runs, and a signal comes while `start` waits for that."""

    def start(self) -> None:
        super().start()
        raise KeyboardInterrupt


def test_a_signal_while_the_time_limit_is_set_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = Setting(1, 1, 1, True, "on", "f16", "f16", None)
    measuring = trial.Trial(trial.spec_of(Config(), setting), 0)
    before = set(threading.enumerate())
    monkeypatch.setattr(threading, "Timer", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        measuring.measure(Measure("decode", [1], 1.0))
    measuring.close()
    for left in set(threading.enumerate()) - before:  # the interpreter would wait for them all
        left.join(60)
        assert not left.is_alive()
