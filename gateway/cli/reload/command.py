"""``forge reload``."""

import os
import time
from typing import Any

import httpx2

from gateway.cli import console
from gateway.cli.console import Exit
from gateway.cli.reload.options import NAME, USUAL
from gateway.core.loopback import is_this_machine
from gateway.reloading.report import ReloadReport, summary

CONNECT_S = 5.0
PAUSE_S = 0.5
"""Between two questions after a reload that runs."""
QUIET_S = 5.0
"""Seconds of a reload after which it is told what it waits for."""


class NoReload(Exception):
    """The server's reason for having changed nothing."""


class NotAll(Exception):
    """The server's reason for not having changed all."""


def run(given: dict[str, Any]) -> int:
    """The exit code of the command."""
    return console.run(
        NAME,
        lambda: _run(given["url"] or USUAL, given["api_key"], given["model"]),
        refused=(NoReload,),
        failed=(NotAll,),
        interrupted="interrupted; the reload goes on, and GET /models/reload tells how",
    )


def _run(url: str, key: str | None, model: str | None) -> Exit:
    key = key or os.environ.get("FORGE_API_KEY")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise NoReload("--api-key, or FORGE_API_KEY: only visible ASCII characters can be sent")
    base = url.rstrip("/").removesuffix("/v1")
    try:
        address = httpx2.URL(base)
        here = is_this_machine(address.host)
        client = httpx2.Client(
            base_url=base,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=CONNECT_S,
            trust_env=not here,
        )
    except (httpx2.InvalidURL, ValueError):
        raise NoReload(f"--url: {url!r} is no address such as {USUAL}") from None
    with client:
        try:
            report = _finished(client, _begun(client, model))
        except httpx2.HTTPError as error:
            raise NotAll(f"{base} does not answer: {error}") from error
    if report["state"] == "refused":
        raise NoReload(summary(report))
    if report["state"] == "failed" or any(each["change"] == "failed" for each in report["models"]):
        raise NotAll(summary(report))
    console.say(NAME, f"{summary(report)} ({report['seconds']:.1f} s)")
    return Exit.OK


def _begun(client: httpx2.Client, model: str | None) -> ReloadReport:
    """Begin a reload, after the one that runs. Raises NoReload."""
    body: dict[str, Any] = {"wait": False} | ({} if model is None else {"model": model})
    while True:
        response = client.post("/models/reload", json=body)
        if response.status_code != 409:
            return _report(response)
        time.sleep(PAUSE_S)


def _finished(client: httpx2.Client, report: ReloadReport) -> ReloadReport:
    """Return the report of the end; tell on the way what is waited for, once for each model."""
    told = ""
    while report["state"] == "running":
        time.sleep(PAUSE_S)
        report = _report(client.get("/models/reload"))
        waiting = report.get("waiting") or ""
        model = waiting.partition(":")[0]
        if waiting and model != told and report["seconds"] >= QUIET_S:
            console.say(NAME, waiting)
            told = model
    return report


def _report(response: httpx2.Response) -> ReloadReport:
    try:
        told = response.json()
    except ValueError:
        told = None
    if response.is_success and isinstance(told, dict) and "state" in told:
        report: ReloadReport = told  # type: ignore[assignment]
        return report
    message = told.get("error") if isinstance(told, dict) else None
    if isinstance(message, dict) and "message" in message:
        raise NoReload(str(message["message"]))
    raise NoReload(f"the server answers {response.status_code}, and is no Forge that reloads")
