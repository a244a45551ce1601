"""A spare process that lacks something for a while is tried again, and nothing breaks."""

import asyncio
import errno
import logging
import os

import pytest

from gateway.pool import spare
from gateway.pool.process import WorkerProcess
from gateway.pool.spare import Spare


def test_without_descriptors_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spare, "FIRST_S", 0.001)
    stopping, tried = asyncio.Event(), 0

    def make() -> WorkerProcess:
        nonlocal tried
        tried += 1
        if tried == 3:
            stopping.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with caplog.at_level(logging.WARNING, "forge.pool"):
        asyncio.run(Spare(make, lambda: True).keep(stopping))
    assert tried == 3
    assert "no spare process can be started" in caplog.text
