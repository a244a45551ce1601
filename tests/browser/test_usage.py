"""The table of usage on the page: for admins, of all keys, today and over days."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.conftest import Open
from tests.browser.test_axe import RUN, findings
from tests.conftest import Start
from tests.e2e.test_usage import ask, key_file
from tests.support.server import ForgeServer, eventually

if TYPE_CHECKING:
    from tests.support.chromium import Page

ROWS = """
return [...document.querySelectorAll("#usage > tr")].map(
  (row) => [...row.cells].map((cell) => cell.textContent));
"""


def rows(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.run(ROWS)
    return found


def enter(page: Page, secret: str) -> None:
    field = page.driver.find_element("id", "key-field")
    eventually(field.is_displayed, "the field for the key")
    field.send_keys(secret, "\ue007")
    eventually(page.live, "the stream is there")
    page.errors()  # the 401 of before


def test_an_admin_sees_what_all_have_used(
    opened: Open, start_server: Start, tmp_path: Path
) -> None:
    from tests.support.chromium import DESKTOP, PHONE

    options = ("--workers", "1", "--slots", "2", "--data-dir", str(tmp_path / "data"))
    server = start_server(*options, "--api-key-file", str(key_file(tmp_path)), key="sk-root")
    page = opened(server)
    enter(page, "sk-root")
    eventually(lambda: page.driver.find_element("id", "usage-empty").is_displayed(), "none yet")
    for _ in range(3):
        ask(server, "sk-app", 4).raise_for_status()
    ask(server, "sk-root", 1).raise_for_status()
    page.driver.refresh()
    eventually(lambda: len(rows(page)) == 2, "both keys are listed")
    app, root = rows(page)
    assert app[:3] == ["app", "forge-tiny", "3"]
    assert app[5] == "12"
    assert (root[0], root[2], root[5]) == ("root", "1", "1")
    assert page.text("#usage-note") == "days in UTC"
    page.run("const it = document.querySelector('#usage-days'); it.value = '30'; "
             "it.dispatchEvent(new Event('change'));")  # fmt: skip
    eventually(lambda: [row[2] for row in rows(page)] == ["3", "1"], "the same over thirty days")
    for size, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, False)):
        page.look(size, dark=dark)
        findings(page)
        assert page.run(RUN.replace("document,", "'#usage-card',")) == []
        width = page.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], "no sideways"


def test_other_keys_see_no_table(opened: Open, start_server: Start, tmp_path: Path) -> None:
    server: ForgeServer = start_server(
        *("--workers", "1", "--slots", "1", "--api-key-file", str(key_file(tmp_path))),
        key="sk-root",
    )
    page = opened(server)
    enter(page, "sk-app")
    assert not page.driver.find_element("id", "usage-card").is_displayed()
