"""Captures on the page: for an admin's key, as text alone, whatever clients and models said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Open
from tests.browser.test_axe import RUN, findings
from tests.conftest import Start
from tests.support.server import ForgeServer, eventually

if TYPE_CHECKING:
    from tests.support.chromium import Page

KEYS = """
[[key]]
name = "boss"
key = "sk-boss"
admin = true
capture = "header"

[[key]]
name = "app"
key = "sk-app"
capture = "always"
"""
HOSTILE = (
    '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
    '<a href="javascript:window.hurt=1">x</a>\u202e\x1b[31m</pre></dialog>{{7*7}}'
)
ROWS = """
return [...document.querySelectorAll("#captures > tr")].map((row) => ({
  id: row.dataset.id, cells: [...row.cells].map((cell) => cell.textContent),
}));
"""


@pytest.fixture
def keyed(start_server: Start, tmp_path: Path) -> ForgeServer:
    """An admin's key, and one whose requests are all captured."""
    keys = tmp_path / "keys.toml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    options = ("--workers", "1", "--api-key-file", str(keys), "--data-dir", str(tmp_path / "data"))
    return start_server(*options, key="sk-boss")


def rows(page: Page) -> list[dict[str, Any]]:
    """The captures that are listed."""
    found: list[dict[str, Any]] = page.run(ROWS)
    return found


def log_in(page: Page, key: str) -> None:
    field = page.driver.find_element("id", "key-field")
    eventually(field.is_displayed, "the field for the key")
    field.send_keys(key, "\ue007")
    eventually(page.live, "the stream is there")
    page.errors()  # the 401 of before


def asked(server: ForgeServer, text: str, **more: Any) -> str:
    """Ask in the name of the key that is always captured; the capture's id."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, **more}
    with server.client(**{"Authorization": "Bearer sk-app", "User-Agent": HOSTILE[:60]}) as client:
        response = client.post("/v1/chat/completions", json=body)
    return response.headers["x-capture"]


def test_an_admin_sees_and_deletes_them(opened: Open, keyed: ForgeServer) -> None:
    from tests.support.chromium import DESKTOP, PHONE

    ids = [asked(keyed, "hello"), asked(keyed, HOSTILE, model=HOSTILE), asked(keyed, HOSTILE)]
    page = opened(keyed)
    log_in(page, "sk-boss")
    eventually(lambda: [each["id"] for each in rows(page)] == ids[::-1], "all are listed")
    newest, wrong, _ = rows(page)
    assert newest["cells"][3:5] == ["/v1/chat/completions", "200 finished"]
    assert wrong["cells"][2] == HOSTILE.replace("\u202e", "\\u202e")  # it turns no direction
    assert wrong["cells"][4] == "404 invalid"
    for id_ in ids[1:]:
        page.click(f"#captures [data-id='{id_}'] button")
        eventually(lambda id_=id_: page.text("#capture-title") == id_, "it is shown")  # type: ignore[misc]
        shown = page.run("return document.getElementById('capture-request').textContent")
        assert "<img src=x onerror=" in shown
        assert "\u202e" not in shown
        facts = page.text("#capture-facts")
        assert ("0 for " in facts and ": to the end" in facts) == (id_ != ids[1]), facts
        assert page.run("return document.querySelectorAll('#capture img, #capture a').length") == 0
        if id_ == ids[1]:
            page.click("#capture-close")
    assert page.run("return window.hurt") is None
    for size, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, False)):
        page.look(size, dark=dark)
        findings(page)  # brings axe
        for part in ("#captures-card", "#capture"):
            assert page.run(RUN.replace("document,", f"'{part}',")) == []
        width = page.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], "no sideways"
    page.look()
    page.click("#capture-delete")
    assert page.text("#capture-delete") == "Sure?"
    page.click("#capture-delete")
    eventually(lambda: [each["id"] for each in rows(page)] == ids[1::-1], "it is gone")
    page.click("#captures-delete")
    page.click("#captures-delete")
    eventually(lambda: page.driver.find_element("id", "captures-empty").is_displayed(), "none")
    assert keyed.get("/captures")["data"] == []


def test_another_key_sees_no_list(opened: Open, keyed: ForgeServer) -> None:
    asked(keyed, "hello")
    page = opened(keyed)
    log_in(page, "sk-app")
    assert not page.driver.find_element("id", "captures-card").is_displayed()
