"""``forge batch``."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli import console
from gateway.cli.batch.requests import (
    AskedModel,
    BatchRefused,
    LineRequest,
    check,
    digest,
    requests,
)
from gateway.cli.batch.result_file import ResultFile
from gateway.cli.batch.runner import RequestRunner, RunCounts
from gateway.cli.chat.client import Client, RequestFailed
from gateway.cli.chat.target_server import server
from gateway.cli.console import Exit
from gateway.cli.progress import Progress
from gateway.config.config import ConfigError
from gateway.core.priority import priority_of

USUAL = 16
"""Requests at once where the server does not tell its slots."""


def run(given: dict[str, Any]) -> int:
    """The exit code of the command."""
    with console.interrupted_by(signal.SIGTERM):
        return console.run(
            "batch",
            lambda: _run(given),
            refused=(ConfigError, BatchRefused),
            failed=(RequestFailed,),
            interrupted="interrupted; the same command goes on where this one was",
        )


def _run(given: dict[str, Any]) -> Exit:
    source, target = given["input"], given["output"]
    priority = given["priority"] or "batch"
    try:
        priority_of(priority)
    except ValueError as error:
        raise BatchRefused(f"--priority: {error}") from None
    if source.exists() and target.exists() and source.samefile(target):
        raise BatchRefused("IN and OUT are the same file")
    lines = check(source, lambda line: console.say("batch", line))
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(ResultFile(target))
        errors = stack.enter_context(ResultFile(errors_path(target)))
        stack.callback(errors.remove_if_empty)
        before = len(lines.keys() & results.ids)
        if before == len(lines):
            console.say("batch", f"{target} has the results of all {before} lines")
            return Exit.OK
        where = server(given["url"], given["api_key"], given["model"])
        client, name = stack.enter_context(where)
        model = None if given["model"] is None else AskedModel(name)
        missing = (
            each for each in requests(source, model) if digest(each.custom_id) not in results.ids
        )
        at_once = given["concurrency"] or window(client, name)
        errors.empty()
        counts = _all(client, missing, results, errors, priority, at_once, before, len(lines))
    summary = f"{before + counts.done} of {len(lines)} lines have results in {target}"
    if not counts.failed:
        console.say("batch", summary)
        return Exit.OK
    console.say("batch", f"{summary}, {counts.failed} failed: {errors.path}")
    return Exit.FAILED


def errors_path(target: Path) -> Path:
    """Return the file of failures: of ``out.jsonl`` that is ``out.errors.jsonl``."""
    return target.with_name(target.name.removesuffix(".jsonl") + ".errors.jsonl")


def window(client: Client, model: str | None) -> int:
    """Return how many requests keep a server busy: while one is answered, the next is there."""
    slots = client.slots(model)
    return USUAL if slots is None else 2 * slots


def _all(
    client: Client,
    missing: Iterator[LineRequest],
    results: ResultFile,
    errors: ResultFile,
    priority: str,
    at_once: int,
    before: int,
    total: int,
) -> RunCounts:
    """Run what is missing, and show it."""
    began = time.monotonic()
    with Progress("lines") as bar:

        def tell(counts: RunCounts) -> None:
            done = counts.done + counts.failed
            rate = done / max(time.monotonic() - began, 1e-9)
            bar("lines", before + done, total, f"{rate:.1f}/s, {counts.failed} failed")

        async def work() -> RunCounts:
            async with client.asynchronous(at_once) as http:
                runner = RequestRunner(http, results, errors, priority, tell)
                bar("lines", before, total, "")
                await runner.run(missing, at_once)
                return runner.counts

        return asyncio.run(work())
