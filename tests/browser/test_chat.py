"""The chat as people use it: by keyboard, with settings, stopped, tried again, kept and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Open
from tests.conftest import Start
from tests.support.killing import stopped
from tests.support.server import ForgeServer, eventually
from tests.support.shared_servers import SharedServers

if TYPE_CHECKING:
    from tests.support.chromium import Page

TAB, ENTER, ESCAPE, ALT, SHIFT, RIGHT = "\ue004", "\ue007", "\ue00c", "\ue00a", "\ue008", "\ue014"
GROWING = """
window.lengths = new Set();
const log = document.getElementById("chat-log");
const look = () => window.lengths.add(log.querySelector(".said")?.textContent.length);
new MutationObserver(look).observe(log, { childList: true, subtree: true, characterData: true });
"""
LAST = """
const row = document.querySelector("#requests > tr");
return row ? [...row.children].map((cell) => cell.textContent) : [];
"""

PICK = """
const names = [...document.querySelectorAll("#chat-list .name")];
const found = names.find((name) => name.textContent === arguments[0]);
found?.closest("button").click();
return Boolean(found);
"""
"""At once: when an answer ends the list is drawn anew, in another order."""


@pytest.fixture
def page(opened: Open, server: ForgeServer) -> Page:
    page = opened(server)
    eventually(page.live, "the stream is there")
    return page


def answered(page: Page, number: int) -> list[str]:
    """The texts of so many messages, when the last of them is whole."""
    eventually(lambda: len(page.messages()) == number and page.idle(), f"{number} messages")
    return page.messages()


def settings(page: Page, **fields: object) -> None:
    """Fill in the dialog."""
    page.click("#chat-settings-button")
    for name, value in fields.items():
        field = page.driver.find_element("css selector", f"#chat-settings [name={name}]")
        if field.tag_name != "select":
            field.clear()
        field.send_keys(str(value))
    page.click("#chat-settings .primary")
    eventually(lambda: not page.run("return document.querySelector('dialog[open]')"), "it closes")


def press(page: Page, letter: str) -> None:
    """Alt and a letter."""
    page.type(ALT, letter, ALT)


def test_a_chat_streams(page: Page) -> None:
    """By the keyboard alone."""
    page.run(GROWING)
    press(page, "m")
    assert page.focused() == "chat-text"
    page.type(TAB, RIGHT)  # the priority
    press(page, "m")
    page.type("Tell me a story", SHIFT, ENTER, SHIFT, "about a cat.", ENTER)
    asked, said = answered(page, 2)
    assert asked == "Tell me a story\nabout a cat."
    assert len(said) > 20
    assert page.run("return window.lengths.size") > 2, "it came in pieces"
    figures = page.text(".message:last-child .note")
    assert figures.startswith("waited")
    assert "first token after" in figures
    eventually(lambda: page.run(LAST)[1:2] == ["urgent"], "it is in the table")
    assert f"{page.run(LAST)[3]} tokens" in figures
    eventually(lambda: page.text("#now-rate") != "\u2013", "tokens per second")
    eventually(lambda: "MiB of prefixes" in page.text("#workers"), "it is kept for the next turn")
    assert page.focused() == "chat-text"


def test_all_of_it_by_the_keyboard(page: Page) -> None:
    """Tab comes to every control, where it can be seen; the dialogs open, close and list keys."""
    page.say("hello")
    answered(page, 2)
    press(page, "c")
    eventually(lambda: page.text("#chat-list .name") == "hello", "it is listed")
    reached = {}
    page.run("document.activeElement.blur()")
    for _ in range(80):
        page.type(TAB)
        name, seen = page.run(
            """
            const node = document.activeElement;
            const name = node.id || node.getAttribute("aria-label") || node.textContent.trim();
            const style = getComputedStyle(node.matches("[type=radio]") ? node.nextSibling : node);
            return [name, style.outlineStyle !== "none"];
            """
        )
        reached[name] = seen
    wanted = {
        *("chat-list-button", "chat-new", "chat-settings-button", "chat-large", "chat-keys-button"),
        *("chat-save-markdown", "chat-save-json", "chat-save-all", "chat-delete-all"),
        *("chat-log", "chat-text", "chat-send", "heap", "flood"),
        *("Edit your last message", "Retry: make another answer", "Delete: hello"),
    }
    assert wanted <= reached.keys()
    assert {name for name, seen in reached.items() if not seen and name in wanted} == set()
    for letter, dialog in (("k", "chat-keys"), ("i", "chat-settings")):
        press(page, letter)
        assert page.run("return document.querySelector('dialog[open]').id") == dialog
        listed = page.text("#chat-keys-list")
        page.type(ESCAPE)
        assert not page.run("return document.querySelector('dialog[open]')")
    assert all(f"Alt + {letter}" in listed for letter in "MNCIRULK")
    press(page, "l")
    eventually(lambda: page.run("return location.hash") == "#chat", "it is large")
    assert not page.driver.find_element("id", "heap").is_displayed()
    page.driver.back()
    eventually(lambda: page.driver.find_element("id", "heap").is_displayed(), "the way back")


def test_the_embedded_model_says_what_it_is(page: Page) -> None:
    tiny = page.driver.find_element("id", "chat-tiny")
    assert tiny.is_displayed()
    assert tiny.text.startswith("forge-tiny is not a real model.")
    assert "forge pull\nforge serve --model hf:" in tiny.text
    page.say("hello")
    answered(page, 2)
    assert not tiny.is_displayed()
    press(page, "n")
    assert tiny.is_displayed()


def test_settings_hold_for_the_conversation(page: Page) -> None:
    settings(page, title="Short", system="You are brief.", max_tokens=3, temperature=0, seed=7)
    page.say("Tell me a story about a cat.")
    _, first = answered(page, 2)
    assert page.text("#chat-name") == "Short"
    note = page.text(".message:last-child .note")
    assert note.startswith("It reached its limit of tokens. waited")
    assert "\u00b7 3 tokens" in note
    page.click(".message:last-child [aria-label^=Retry]")
    assert answered(page, 2)[1] == first, "the same at temperature 0"
    press(page, "n")
    page.say("Tell me a story about a cat.")
    assert answered(page, 2)[1] == first, "a new one begins with them"
    page.click("#chat-settings-button")
    field = page.driver.find_element("css selector", "#chat-settings [name=tools]")
    field.send_keys("{not json")
    page.click("#chat-settings .primary")
    assert page.run("return document.querySelector('dialog[open]')"), "this is not taken"
    assert "no JSON" in page.run("return arguments[0].validationMessage", field)
    page.type(ESCAPE)


def test_edit_and_retry(page: Page) -> None:
    page.say("hello")
    answered(page, 2)
    page.say("what is 2+2?")
    answered(page, 4)
    press(page, "u")
    page.type("\ue009", "a", "\ue009", "what is 3+4?", "\ue009", ENTER, "\ue009")  # control
    texts = answered(page, 4)
    assert texts[2] == "what is 3+4?"
    assert "7" in texts[3]
    press(page, "u")
    page.type("nothing", ESCAPE)
    assert page.messages() == texts, "this was given up"
    press(page, "r")
    eventually(lambda: len(page.messages()) == 4 and page.idle(), "another answer")
    assert page.messages()[2] == "what is 3+4?"


def test_stop_and_what_waits(opened: Open, shared_servers: SharedServers) -> None:
    server = shared_servers("--workers", "1", "--slots", "1", "--stuck-timeout", "3600")
    page = opened(server)
    eventually(page.live, "the stream is there")
    with stopped(*server.pids()):
        page.say("hello")
        note = ".message:last-child .note"
        eventually(lambda: page.text(note).startswith("Waiting for"), "it says so")
        assert page.text("#chat-send") == "Stop"
        page.type(ESCAPE)
        eventually(page.idle, "it is stopped")
        assert page.text(note).startswith("Stopped.")
    eventually(lambda: server.busy() == 0, "the server knows")
    press(page, "r")
    eventually(lambda: page.idle() and page.messages()[1:] not in ([], [""]), "an answer")


def test_an_error_is_shown_and_can_be_tried_again(opened: Open, start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--ctx", "256")
    page = opened(server)
    eventually(page.live, "the stream is there")
    page.run("document.getElementById('chat-text').value = 'many words '.repeat(400)")
    page.click("#chat-send")
    eventually(lambda: "context" in page.text(".failure"), "why not")
    eventually(page.idle, "it is over")
    (error,) = page.errors()
    assert "400" in error, "browsers log what servers refuse"
    press(page, "u")
    page.run("document.querySelector('.edit textarea').value = 'hello'")
    page.click(".edit .primary")
    asked, said = answered(page, 2)
    assert (asked, bool(said)) == ("hello", True)
    assert page.text(".failure") == ""


def test_conversations_are_kept(page: Page, tmp_path: Path) -> None:
    page.say("hello")
    answered(page, 2)
    press(page, "n")
    page.say("what is 2+2?")
    texts = answered(page, 2)
    page.driver.refresh()
    eventually(lambda: page.messages() == texts, "the last one is open")
    page.click("#chat-list-button")
    names = "return [...document.querySelectorAll('#chat-list .name')].map((n) => n.textContent)"
    eventually(lambda: page.run(names) == ["what is 2+2?", "hello"], "they are listed")

    page.save_into(tmp_path)
    page.click("#chat-save-markdown")
    markdown = tmp_path / "what-is-22.md"
    eventually(markdown.is_file, "it is saved")
    assert markdown.read_text("utf-8").startswith("# what is 2+2?\n\n## You\n\nwhat is 2+2?\n\n")
    assert texts[1] in markdown.read_text("utf-8")
    page.click("#chat-save-json")
    assert [each["messages"][1]["text"] for each in saved(tmp_path / "what-is-22.json")] == [
        texts[1]
    ]
    page.click("#chat-save-all")
    assert len(saved(tmp_path / "forge-conversations.json")) == 2

    page.click("#chat-list [aria-label='Delete: hello']")
    assert page.run(names) == ["what is 2+2?", "hello"], "it asks first"
    page.click("#chat-list .sure")
    eventually(lambda: page.run(names) == ["what is 2+2?"], "it is gone")
    page.click("#chat-delete-all")
    page.click("#chat-list .sure")
    eventually(lambda: page.run(names) == [], "all are gone")
    assert page.messages() == []
    page.driver.refresh()
    eventually(page.live, "the stream is there")
    assert page.messages() == []


def saved(path: Path) -> list[dict[str, Any]]:
    eventually(path.is_file, "it is saved")
    found = json.loads(path.read_text("utf-8"))
    assert (found["format"], found["version"]) == ("forge-conversations", 1)
    conversations: list[dict[str, Any]] = found["conversations"]
    return conversations


def test_two_at_once(page: Page) -> None:
    """An answer goes on while another conversation is looked at."""
    page.say("Tell me a story about a cat.")
    press(page, "n")
    page.say("hello")
    answered(page, 2)
    page.click("#chat-list-button")
    eventually(lambda: page.run(PICK, "Tell me a story about a cat."), "it is listed")
    asked, said = answered(page, 2)
    assert asked == "Tell me a story about a cat."
    assert len(said) > 20
