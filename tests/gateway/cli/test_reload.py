"""``forge reload`` while it waits: it says once for each model what for."""

import httpx2
import pytest

from gateway.cli.reload import command
from gateway.reloading import report
from gateway.reloading.report import ReloadReport


def running(waiting: str | None, seconds: float = 9.0) -> ReloadReport:
    return {**report.none(), "state": "running", "waiting": waiting, "seconds": seconds}


def test_what_it_waits_for_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "PAUSE_S", 0)
    reports = [
        running("a: 1 request has its old workers still; in 9 s these fail", seconds=1.0),
        running("a: 1 request has its old workers still; in 8 s these fail"),
        running("a: 1 request has its old workers still; in 7 s these fail"),
        running(None),
        running("b: 2 requests have its old workers still; in 9 s these fail"),
        report.none(),
    ]
    left = iter(reports)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=next(left)))
    with httpx2.Client(transport=transport, base_url="http://forge") as client:
        assert command._finished(client, running(None)) == report.none()
    assert capsys.readouterr().err.splitlines() == [
        "forge reload: a: 1 request has its old workers still; in 8 s these fail",
        "forge reload: b: 2 requests have its old workers still; in 9 s these fail",
    ]
