"""The page in a browser: workers that come back, keys, and what assistive tools see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Open
from tests.conftest import Start
from tests.support.killing import kill
from tests.support.server import ForgeServer, eventually

if TYPE_CHECKING:
    from tests.support.chromium import Page

WORKERS = """
return [...document.querySelectorAll(".worker")].map((row) =>
  ["name", "pid", "state", "restarts"].map((part) => row.querySelector(`.${part}`).textContent));
"""
NAMED = ("button", "textbox", "radio", "link", "region", "image", "list", "log", "heading")
"""Roles that mean nothing to a screen reader without a name."""


def workers(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.run(WORKERS)
    return found


def test_a_killed_worker_comes_back(opened: Open, start_server: Start) -> None:
    server = start_server("--workers", "2", "--slots", "2")
    page = opened(server)
    eventually(lambda: len(workers(page)) == 2, "both workers")
    pids = server.pids()
    assert workers(page) == [
        [f"Worker {n}", f"pid {pid}", "ready", "0 restarts"] for n, pid in enumerate(pids)
    ]
    kill(pids[0])
    eventually(lambda: workers(page)[0][2:] == ["ready", "1 restart"], "it is back")
    assert workers(page)[0][1] == f"pid {server.pids()[0]}" != f"pid {pids[0]}"
    assert workers(page)[1] == ["Worker 1", f"pid {pids[1]}", "ready", "0 restarts"]


def test_a_server_with_keys_asks_for_one(opened: Open, start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--api-key", "sk-page", key="sk-page")
    page = opened(server)
    field = page.driver.find_element("id", "key-field")
    eventually(field.is_displayed, "the field for the key")
    assert page.driver.switch_to.active_element == field
    field.send_keys("sk-other", "\ue007")
    eventually(lambda: "not know this key" in page.text("#key-error"), "another one is wanted")
    assert not page.live()
    field.send_keys("sk-page", "\ue007")
    eventually(page.live, "the stream is there")
    assert not field.is_displayed()
    page.say("hello")
    eventually(lambda: "tokens/s" in page.text("#chat-log"), "the chat has the key too")
    assert all("401" in error for error in page.errors())
    page.run("sessionStorage.clear()")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone(opened: Open, server: ForgeServer, dark: bool) -> None:
    from tests.support.chromium import PHONE

    page = opened(server)
    page.look(PHONE, dark=dark)
    eventually(page.live, "the stream is there")
    assert page.run("return document.documentElement.scrollWidth") == PHONE[0], "no sideways"
    background = page.run("return getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert (red < 64) == dark


def test_everything_has_a_name(opened: Open, server: ForgeServer) -> None:
    page = opened(server)
    eventually(page.live, "the stream is there")
    eventually(lambda: len(workers(page)) == 2, "both workers")
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})
    nodes = [node for node in tree["nodes"] if not node["ignored"]]
    named = [node for node in nodes if node["role"]["value"] in NAMED]
    roles = {node["role"]["value"] for node in named}
    assert {"button", "textbox", "radio", "region", "log", "heading"} <= roles
    without = [node["role"]["value"] for node in named if not node.get("name", {}).get("value")]
    assert without == []
