"""The queue as the page shows it: a flood lines up, ages, and drains in that order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Open
from tests.support.killing import stopped
from tests.support.server import ForgeServer, eventually
from tests.support.shared_servers import SharedServers

if TYPE_CHECKING:
    from tests.support.chromium import Page

ROWS = """
return [...document.querySelectorAll("#jobs > .job")].map((row) => ({
  id: Number(row.dataset.id),
  class: row.dataset.class,
  rank: row.querySelector(".rank").textContent,
  effective: Number(row.querySelector(".effective").textContent),
  bar: [...row.querySelectorAll(".bar i")].reduce((sum, part) => sum + part.offsetWidth, 0),
}));
"""
FLOOD = """
const body = JSON.stringify(arguments[0]);
const headers = { "Content-Type": "application/json" };
return fetch("dashboard/flood", { method: "POST", headers, body }).then((answer) => answer.json());
"""
WATCH = """
window.seen = [];
const list = document.getElementById("jobs");
const look = () => window.seen.push([...list.children].map((row) => Number(row.dataset.id)));
new MutationObserver(look).observe(list, { childList: true });
"""
ENDED = """
return [...document.querySelectorAll("#requests > tr")].map((row) => Number(row.dataset.id));
"""


@pytest.fixture(scope="module")
def slow(shared_servers: SharedServers) -> ForgeServer:
    """One slot, in which time passes only when a test says so; and everybody ages fast."""
    ages = ("--aging-rate", "1", "--stuck-timeout", "3600", "--step-timeout", "3600")
    return shared_servers("--workers", "1", "--slots", "1", "--preempt", "off", *ages)


def flood(page: Page, **numbers: int) -> None:
    assert page.run(FLOOD, {**numbers, "tokens": 4}) == {"accepted": sum(numbers.values())}


def rows(page: Page, number: int) -> list[dict[str, object]]:
    """The bars, once there are so many."""
    found: list[dict[str, object]] = []

    def all_there() -> bool:
        found[:] = page.run(ROWS)
        return len(found) == number

    eventually(all_there, f"{number} bars, not {found}")
    return found


def test_a_flood_lines_up_ages_and_drains_in_order(opened: Open, slow: ForgeServer) -> None:
    page = opened(slow)
    eventually(page.live, "the stream is there")
    with stopped(*slow.pids()):
        flood(page, batch=3, normal=3, urgent=3)
        first = rows(page, 8)  # an urgent one has the slot
        assert [row["class"] for row in first] == ["urgent"] * 2 + ["normal"] * 3 + ["batch"] * 3
        assert [row["rank"] for row in first] == ["next", *map(str, range(2, 9))]
        ids = [row["id"] for row in first]
        assert ids[2:5] == sorted(ids[2:5])  # type: ignore[type-var]

        # They age, though the server has nothing to tell.
        eventually(lambda: rows(page, 8)[-1]["effective"] > 1.2, "batch is past 1")  # type: ignore[operator]
        later = rows(page, 8)
        assert all(new["bar"] > old["bar"] for new, old in zip(later, first, strict=True))  # type: ignore[operator]
        flood(page, normal=2)
        aged = rows(page, 10)
        assert [row["id"] for row in aged[:8]] == ids, "old batch is before fresh normal"
        assert [row["class"] for row in aged[8:]] == ["normal"] * 2
        values = [row["effective"] for row in aged]
        assert values == sorted(values, reverse=True)  # type: ignore[type-var]
        page.run(WATCH)

    wanted = [row["id"] for row in aged]
    eventually(lambda: len(page.run(ENDED)) == 11, "all are in the table")
    assert page.run(ENDED)[:-1][::-1] == wanted, "they ended in the order of the bars"
    for seen in page.run("return window.seen"):
        assert seen == wanted[len(wanted) - len(seen) :], "who leaves was the next"
    assert page.text("#now-waiting") == "0"
    assert page.driver.find_element("id", "jobs-empty").is_displayed()


def test_the_button(opened: Open, slow: ForgeServer, tmp_path: Path) -> None:
    page = opened(slow)
    eventually(page.live, "the stream is there")
    with stopped(*slow.pids()):
        page.click("#flood")
        eventually(lambda: {row["class"] for row in page.run(ROWS)} >= {"batch", "normal"}, "bars")
        waiting = int(page.text("#now-waiting"))
        assert waiting >= len(page.run(ROWS)) > 0
        page.open("/docs")  # no more waves from a page that is gone
    eventually(lambda: slow.busy() == 0 and not slow.waiting(), "it drains")
