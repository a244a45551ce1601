"""The command ``forge serve``."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.cli import console
from gateway.cli.console import Exit
from gateway.cli.sampling_check import check_sampling
from gateway.config.api_keys import Keyring
from gateway.config.config import ConfigError, NotNow
from gateway.http.listening import bind, inherited
from gateway.http.tls import server_context
from gateway.model_files import memory_check
from gateway.model_files.resolve import quietly
from gateway.served import cluster_pools, memory_budget
from gateway.served.setup import Sources
from gateway.system import collector, log_setup
from gateway.system.hangup import Hangup
from gateway.system.service_manager import ServiceManager


def run(given: dict[str, Any], file: Path | None, notes: Sequence[str] = ()) -> int:
    """``forge serve`` with the options ``given`` on the command line; the exit code.

    ``notes`` are about these options.
    """
    console.go_on_without_output()
    # Only while the model is downloaded can it be interrupted: later it has its own handlers.
    return console.run(
        "serve",
        lambda: _serve(given, file, notes),
        refused=(ConfigError,),
        failed=(NotNow,),
        interrupted=console.KEPT,
    )


def _serve(given: dict[str, Any], file: Path | None, remarks: Sequence[str]) -> Exit:
    """Raises :class:`ConfigError`."""
    manager = ServiceManager.taken_from()  # before any child could take it for its own
    manager.status("looks for the model, and downloads it if need be")
    sources = Sources(given, file, check_sampling, console.obtain, dict(os.environ))
    setup = sources.read()
    config, notes = setup.config, list[str | None](setup.notes)
    log_setup.configure(config.log_level, config.log_format, "%(name)s")
    for remark in remarks:
        tell(remark, config.log_format)
    tls = server_context(config.ssl_certfile, config.ssl_keyfile)
    cluster_pools.check(setup)
    plan = memory_budget.plan(config, setup.entries) if setup.entries else None
    if plan is None and config.cluster is None:
        notes.append(memory_check.check(config))
    socks = inherited(manager.descriptors) or bind(config.host, config.port)
    for note in filter(None, notes):
        tell(note, config.log_format)
    hangup = Hangup()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(Exit.OK))  # until the server has its own
    # Late, so that wrong arguments are answered at once.
    with collector.paused():
        import uvloop

        from gateway.server import serve

    with contextlib.ExitStack() as stack:
        for sock in socks:
            stack.enter_context(sock)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        again = replace(sources, obtain=quietly)
        work = serve(
            config,
            socks,
            Keyring(setup.keys),
            tls,
            plan=plan,
            manager=manager,
            read=lambda: cluster_pools.checked(again.read()),
            hangup=hangup,
        )
        failure = runner.run(work)
    return Exit.OK if failure is None else console.fail("serve", failure, Exit.FAILED)


def tell(note: str, form: log_setup.Format) -> None:
    """Something to know, on stderr; where everything there is JSON, this is too."""
    if form == "json":
        logging.getLogger("forge").warning("%s", note)
    else:
        console.say("serve", note)
