"""``forge keys`` and ``forge usage``."""

import signal
from typing import Any

from gateway.cli import console
from gateway.cli.chat.client import RequestFailed
from gateway.config.config import ConfigError


def run(command: str, given: dict[str, Any]) -> int:
    """The exit code of the command."""
    from gateway.cli.admin import keys, usage

    work = {"keys": keys.run, "usage": usage.run}[command]
    with console.interrupted_by(signal.SIGTERM):
        return console.run(
            command, lambda: work(given), refused=(ConfigError,), failed=(RequestFailed,)
        )
