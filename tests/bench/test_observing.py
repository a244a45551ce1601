"""The cost of being watched: a small run of everything; figures are for a longer one to say."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from rich.console import Console

from bench.observing.__main__ import Plan, run
from bench.observing.measure import PAGE, WAYS, Results, has_page, viewing
from bench.observing.report import costs
from bench.observing.traces import WATCHED
from bench.server import Server

pytestmark = [
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.mark.timeout(300)  # seconds on an idle machine, minutes beside other work
def test_a_small_run(tmp_path: Path) -> None:
    run(Plan(1, 5, 0.05, 5, 3, 40), tmp_path, Console(record=True, width=200))
    text = (tmp_path / "observing.md").read_text("utf-8")
    tables = [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
        for part in text.split("\n\n")
        if part.startswith("|")
    ]
    assert len(tables) == 6
    for table in tables[:3]:
        ways = [row[0] for row in table[2:]]
        assert ways == [way.name for way in WAYS if way.name in ways]
        assert {"nothing", "metrics"} <= set(ways)
        assert all(float(row[1]) > 0 for row in table[2:])
    assert [row[0] for row in tables[3][2:]] == ["usage", "metrics", "metrics, and the log"]
    assert [row[0] for row in tables[4][2:]] == list(WATCHED)
    waiting = [row[1] for row in tables[5][2:] if row[1]]
    assert waiting[0] == "0"
    assert int(waiting[1]) > 10


def test_what_is_added_is_that_of_one_round() -> None:
    """A round in which the machine is twice as slow says the same of the ratio."""
    results = Results()
    results.costs["token", "nothing"] = [10.0, 20.0, 40.0]
    results.costs["token", "metrics"] = [11.0, 22.0, 44.0]
    (row,) = (line for line in costs(results) if line.startswith("| metrics "))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == ["metrics", "22.00", "2.00", "1.00 - 4.00", "1.100x"]


class _Page(BaseHTTPRequestHandler):
    """Has a live page at one address only."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/new" + PAGE else 404)
        self.end_headers()
        self.wfile.write(b"data: {}\n\n")

    def log_message(self, *arguments: Any) -> None:
        """Not into the tests' output."""


class _At:
    """As much of a server as a viewer needs."""

    def __init__(self, url: str) -> None:
        self.url = url


def test_who_has_no_page_is_not_asked_what_it_costs() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as page:
        thread = threading.Thread(target=page.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{page.server_port}"
            old, new = (cast(Server, _At(url + path)) for path in ("/old", "/new"))
            assert [has_page(old), has_page(new)] == [False, True]
            with viewing(new):
                pass
        finally:
            page.shutdown()
            thread.join()
