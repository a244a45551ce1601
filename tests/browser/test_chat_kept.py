"""Conversations as the browser keeps them: in several tabs, without room, from earlier pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Open
from tests.browser.test_chat import answered, press
from tests.support.killing import stopped
from tests.support.server import ForgeServer, eventually
from tests.support.shared_servers import SharedServers

if TYPE_CHECKING:
    from tests.support.chromium import Page

OFTEN = "const every = setInterval; setInterval = (act, ms) => every(act, Math.min(ms, 50));"
"""Script that has the page do every few milliseconds what it does every few seconds."""
AMID = """
const acts = [];
const every = setInterval;
setInterval = (act, ms) => acts.push(act) && every(act, ms);
const away = IDBObjectStore.prototype.delete;
IDBObjectStore.prototype.delete = function (id) {
  for (const act of acts) queueMicrotask(act);
  return away.call(this, id);
};
"""
"""Script that lets a save of an answer that grows fall into a deletion."""
READS = """
window.reads = [];
const { getAll } = IDBObjectStore.prototype;
IDBObjectStore.prototype.getAll = function (...given) {
  window.reads.push(this.name);
  return getAll.apply(this, given);
};
window.told = [];
new BroadcastChannel("forge-chat").onmessage = ({ data }) => window.told.push(data);
"""
"""Script that records which records are read, and what other tabs tell."""
ALL = "return import('/dashboard/chat/archive.js').then(({ all }) => all())"
NAMES = "return [...document.querySelectorAll('#chat-list .name')].map((n) => n.textContent)"
ROLES = "return [...document.querySelectorAll('.message')].map((n) => n.classList[1])"
OF_OLD = """
const [messages] = arguments;
return new Promise((resolve, reject) => {
  const opening = indexedDB.open("forge-chat", 1);
  const key = { keyPath: "id" };
  opening.onupgradeneeded = () => opening.result.createObjectStore("conversations", key);
  opening.onerror = reject;
  opening.onsuccess = () => {
    const writing = opening.result.transaction("conversations", "readwrite");
    const record = { id: "old", title: "", created: 1, changed: 1, settings: {}, messages };
    writing.objectStore("conversations").put(record);
    writing.oncomplete = () => resolve(opening.result.close());
  };
});
"""
"""A record as the page kept it before there were heads."""
LARGE = """
const [size] = arguments;
return Promise.all([import("/dashboard/chat/archive.js"),
  import("/dashboard/chat/conversation.js")]).then(([archive, made]) => {
  window.large ??= { ...made.fresh(), title: "large" };
  window.large.messages = [made.question("large" + ".".repeat(size))];
  return archive.keep(window.large);
});
"""
"""A conversation of so many characters, as it is kept."""
CALLS = """
return Promise.all([import("/dashboard/chat/archive.js"),
  import("/dashboard/chat/conversation.js")]).then(([archive, made]) => {
  const kept = made.fresh();
  const calls = ["a", "b"].map((id) => ({ id, name: `look_${id}`, arguments: "{}" }));
  kept.messages = [made.question("Look."), { ...made.answer("m"), text: "I look.", calls }];
  return archive.keep(kept);
});
"""


@pytest.fixture
def page(opened: Open, shared_servers: SharedServers) -> Page:
    server = shared_servers("--workers", "1", "--slots", "1", "--stuck-timeout", "3600")
    page = opened(server)
    eventually(page.live, "the stream is there")
    return page


@pytest.fixture
def server(shared_servers: SharedServers) -> ForgeServer:
    return shared_servers("--workers", "1", "--slots", "1", "--stuck-timeout", "3600")


class Tabs:
    """Two tabs of one browser with the same page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._first = page.driver.current_window_handle
        page.driver.switch_to.new_window("tab")
        self._second = page.driver.current_window_handle
        page.open()

    def first(self) -> Page:
        self.page.driver.switch_to.window(self._first)
        return self.page

    def second(self) -> Page:
        self.page.driver.switch_to.window(self._second)
        return self.page

    def close(self) -> None:
        self.second().driver.close()
        self.first()


@pytest.fixture
def tabs(page: Page) -> Iterator[Tabs]:
    """In both of them the same conversation is open."""
    page.say("hello")
    texts = answered(page, 2)
    tabs = Tabs(page)
    eventually(lambda: page.messages() == texts, "the second has it, too")
    yield tabs
    tabs.close()


@contextlib.contextmanager
def on_new_pages(page: Page, script: str) -> Iterator[None]:
    """Have a script run before those of each page that is opened in this tab."""
    driver = page.driver
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def delete(page: Page, name: str) -> None:
    page.click("#chat-list-button")
    eventually(lambda: name in page.run(NAMES), "it is listed")
    page.click(f"#chat-list [aria-label='Delete: {name}']")
    page.click("#chat-list .sure")


def said(conversations: list[Any]) -> list[list[tuple[str, bool]]]:
    """Return the questions of each conversation, and whether they were answered."""
    told = []
    for each in conversations:
        texts = [message["text"] for message in each["messages"]]
        told.append([(ask, bool(said)) for ask, said in zip(texts[::2], texts[1::2], strict=True)])
    return told


def test_tabs_go_on_with_one_conversation(tabs: Tabs) -> None:
    tabs.second().say("what is 2+2?")
    answered(tabs.page, 4)
    eventually(lambda: len(tabs.first().messages()) == 4, "the first has it, too")
    tabs.page.say("what is 3+4?")
    texts = answered(tabs.page, 6)
    eventually(lambda: tabs.second().messages() == texts, "and the second")
    tabs.page.driver.refresh()
    eventually(lambda: tabs.page.messages() == texts, "nothing was lost")


def test_a_draft_outlives_what_another_tab_does(tabs: Tabs) -> None:
    press(tabs.first(), "u")
    tabs.page.type(" world")
    tabs.second().say("what is 2+2?")
    answered(tabs.page, 4)
    tabs.first().click(".edit .primary")
    answered(tabs.page, 2)
    asked = {tuple(ask for ask, _ in each) for each in said(tabs.page.run(ALL))}
    assert asked == {("hello", "what is 2+2?"), ("hello world",)}


def test_answers_in_both_tabs_are_kept(tabs: Tabs, server: ForgeServer) -> None:
    """Neither writes over the other: the one that comes later has a conversation of its own."""
    with stopped(*server.pids()):
        tabs.first().say("what is 2+2?")
        eventually(lambda: len(tabs.second().messages()) == 4, "the second knows")
        tabs.page.say("what is 3+4?")
    eventually(tabs.page.idle, "an answer")
    eventually(lambda: tabs.first().idle(), "and one")
    kept = said(tabs.page.run(ALL))
    assert len(kept) == 2
    assert {pair for each in kept for pair in each if pair[1]} == {
        ("hello", True), ("what is 2+2?", True), ("what is 3+4?", True),
    }  # fmt: skip


def test_what_is_deleted_in_another_tab_stays_deleted(page: Page, server: ForgeServer) -> None:
    """Even while an answer is made for it, which would be stored time and again."""
    with on_new_pages(page, OFTEN):
        page.driver.refresh()
    eventually(page.live, "the stream is there")
    with stopped(*server.pids()), contextlib.ExitStack() as stack:
        page.say("hello")
        tabs = Tabs(page)
        stack.callback(tabs.close)
        eventually(lambda: len(page.messages()) == 2, "it is there")
        delete(page, "hello")
        eventually(lambda: page.messages() == [], "and here it is gone")
        eventually(lambda: tabs.first().messages() == [] and page.idle(), "there, too")
    eventually(lambda: server.busy() == 0, "it was stopped")
    assert page.run(ALL) == []
    page.driver.refresh()
    eventually(page.live, "the stream is there")
    assert page.messages() == []


def test_deleting_while_it_is_answered(page: Page, server: ForgeServer) -> None:
    with on_new_pages(page, AMID):
        page.driver.refresh()
    eventually(page.live, "the stream is there")
    with stopped(*server.pids()):
        page.say("hello")
        delete(page, "hello")
        eventually(lambda: page.run(NAMES) == [], "it is gone")
    eventually(lambda: server.busy() == 0, "it was stopped")
    assert page.run(ALL) == []


def test_answers_that_grow_are_stored_in_silence(page: Page, server: ForgeServer) -> None:
    """No other tab is told, and no list is read until it is seen."""
    with on_new_pages(page, OFTEN + READS):
        page.driver.refresh()
        eventually(page.live, "the stream is there")
        tabs = Tabs(page)
        with on_new_pages(page, READS):
            page.driver.refresh()
            eventually(page.live, "the stream is there")
        page.run("window.told.length = 0")
        tabs.first().run("window.reads.length = 0")
        with stopped(*server.pids()):
            page.say("hello")
            revision = f"{ALL}.then(([one]) => one?.revision)"
            eventually(lambda: (page.run(revision) or 0) > 5, "it is stored some times")
            page.run("window.reads.length = 0")
            (begun,) = tabs.second().run("return window.told")
            tabs.first()
        answered(page, 2)
        eventually(lambda: len(tabs.second().run("return window.told")) == 2, "the end is told")
        assert page.run("return window.told")[1] == begun
        tabs.first()
        assert page.run("return window.reads") == []
        page.click("#chat-list-button")
        eventually(lambda: page.run(NAMES) == ["hello"], "it is listed")
        assert set(page.run("return window.reads")) == {"heads"}, "and not read"
        tabs.close()


def test_without_room_this_tab_still_has_it(page: Page) -> None:
    """On an origin that has kept nothing before: for others the browser remembers its room."""

    def room(**size: int) -> None:
        page.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", {"origin": page.url, **size})

    page = type(page)(page.driver, page.url.replace("127.0.0.1", "localhost"))
    room(quotaSize=1 << 17)
    try:
        page.open()
        eventually(page.live, "the stream is there")
        page.say("hello")
        answered(page, 2)
        sizes = range(60_000, 60_009)  # larger ones the browser puts elsewhere, and does not count
        size = next(each for each in sizes if page.run(LARGE, each) == "unkept")
        page.click("#chat-list-button")
        eventually(lambda: page.run(NAMES) == ["large", "hello"], "both are there")
        assert "no room" in page.text("#chat-list-trouble")
        page.click("#chat-list-rows li:first-child .pick")
        eventually(lambda: page.messages() == ["large" + "." * size], "as it was last")
    finally:
        room()
    eventually(lambda: page.run(LARGE, 1) == "kept", "there is room")
    page.click("#chat-list-rows li:last-child .pick")
    eventually(lambda: page.text("#chat-list-trouble") == "", "all is well")
    page.click("#chat-delete-all")
    page.click("#chat-list .sure")
    eventually(lambda: page.run(NAMES) == [], "none of them comes back")
    assert page.run(LARGE, 1) == "gone"


def test_what_an_earlier_page_kept_is_there(page: Page) -> None:
    page.open("/dashboard/icon.svg")
    page.forget()
    page.run(OF_OLD, [{"role": "user", "text": "From before"}])
    page.open()
    eventually(lambda: page.messages() == ["From before"], "it is open")
    page.click("#chat-list-button")
    eventually(lambda: page.run(NAMES) == ["From before"], "it is listed")
    assert all("favicon.ico" in each for each in page.errors()), "which a picture alone asks for"


def test_each_result_of_a_tool_is_kept_in_its_place(page: Page) -> None:
    """The first one at once, a late one with its call; the model is not asked for an old one."""
    page.run(CALLS)
    page.driver.refresh()
    eventually(lambda: len(page.messages()) == 2, "it is open")
    page.driver.find_elements("css selector", ".call textarea")[1].send_keys("seen b")
    page.driver.find_elements("css selector", ".call form button")[1].click()
    eventually(lambda: page.run(ALL)[0]["messages"][2:] != [], "it is kept")
    page.driver.refresh()
    eventually(lambda: page.messages() == ["Look.", "I look.", "seen b"], "it was kept")
    page.say("hello")
    texts = answered(page, 5)
    page.driver.find_elements("css selector", ".call textarea")[0].send_keys("seen a")
    page.driver.find_elements("css selector", ".call form button")[0].click()
    expected = [*texts[:3], "seen a", *texts[3:]]
    eventually(lambda: page.messages() == expected, "it stands where it belongs")
    assert page.run(ROLES) == ["user", "assistant", "tool", "tool", "user", "assistant"]
    assert page.idle()
    page.driver.refresh()
    eventually(lambda: page.messages() == expected, "it was kept")
