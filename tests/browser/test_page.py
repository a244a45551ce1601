"""The page in a browser: workers that come back, a chat, keys, and what assistive tools see."""

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
GROWING = """
window.lengths = new Set();
const answer = document.getElementById("chat-answer");
new MutationObserver(() => window.lengths.add(answer.textContent.length))
  .observe(answer, { childList: true });
"""
LAST = """
const row = document.querySelector("#requests > tr");
return row ? [...row.children].map((cell) => cell.textContent) : [];
"""
NOTHING = "\u2013"
"""What stands where there is no number."""
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


def test_a_chat_streams(opened: Open, server: ForgeServer) -> None:
    """By the keyboard alone."""
    page = opened(server)
    eventually(page.live, "the stream is there")
    page.run(GROWING)
    text = page.driver.find_element("id", "chat-text")
    text.clear()
    text.send_keys("Tell me a story about a cat.", "\ue004", "\ue014")  # tab, arrow to the right
    page.driver.switch_to.active_element.send_keys("\ue004", "\ue007")  # tab, enter
    done = "return document.getElementById('chat-answer').getAttribute('aria-busy') === 'false'"
    eventually(lambda: page.run(done), "the answer is whole")
    assert len(page.text("#chat-answer")) > 20
    assert page.run("return window.lengths.size") > 2, "it came in pieces"
    assert page.run("return document.querySelector('[name=priority]:checked').value") == "urgent"
    tokens = page.text("#chat-tokens")
    assert int(tokens) > 5
    for figure in ("wait", "ttft"):
        assert page.text(f"#chat-{figure}").endswith("s"), figure
    assert page.text("#chat-rate") != NOTHING
    eventually(lambda: page.run(LAST)[1:2] == ["urgent"], "it is in the table")
    assert page.run(LAST)[3] == tokens
    eventually(lambda: page.text("#now-rate") != NOTHING, "tokens per second")
    eventually(lambda: "MiB of prefixes" in page.text("#workers"), "it is kept for the next turn")


def test_an_error_is_shown(opened: Open, start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--ctx", "256")
    page = opened(server)
    eventually(page.live, "the stream is there")
    page.run("document.getElementById('chat-text').value = 'many words '.repeat(400)")
    page.click("#chat-send")
    eventually(lambda: "context" in page.text("#chat-answer.failed"), "why not")
    assert page.text("#chat-send") == "Send"
    (error,) = page.errors()
    assert "400" in error, "browsers log what servers refuse"


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
    page.click("#chat-send")
    eventually(lambda: page.text("#chat-rate") != NOTHING, "the playground has the key too")
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
    assert without.count("list") <= 1, "only the list of workers, which a heading is above"
    assert set(without) <= {"list"}
