"""Pictures in the chat of a model that takes them: chosen, pasted, dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.browser.conftest import Open
from tests.browser.test_chat import answered, settings
from tests.support.projectors import write_pair
from tests.support.server import ForgeServer, eventually
from tests.support.shared_servers import SharedServers

if TYPE_CHECKING:
    from tests.support.chromium import Page

GIVE = """
const [kind, type, side] = arguments;
return (async () => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = "#d33";
  context.fillRect(0, 0, side, side);
  context.fillStyle = "#36c";
  context.fillRect(side / 4, side / 4, side / 2, side / 2);
  const blob = await new Promise((take) => canvas.toBlob(take, type));
  const data = new DataTransfer();
  data.items.add(new File([blob], "picture", { type: blob.type }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.getElementById(kind === "paste" ? "chat-text" : "chat").dispatchEvent(event);
  return [blob.type, event.defaultPrevented];
})();
"""
SIZES = """
const found = [...document.querySelectorAll("{}")];
return found.map((each) => [each.naturalWidth, each.src.slice(0, 15)]);
"""


@pytest.fixture(scope="module")
def seeing(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    folder = tmp_path_factory.mktemp("seeing")
    model, _ = write_pair("idefics3", EMBEDDED_MODEL, folder)
    return shared_servers("--workers", "1", "--slots", "2", model=model)


def give(page: Page, kind: str, type_: str, side: int) -> None:
    made, taken = page.run(GIVE, kind, type_, side)
    assert made == type_, "the browser can write it"
    assert taken


def test_pasted_and_dropped_pictures(opened: Open, seeing: ForgeServer) -> None:
    page = opened(seeing)
    eventually(page.live, "the stream is there")
    eventually(page.driver.find_element("id", "chat-attach").is_displayed, "a button")
    settings(page, max_tokens=8)
    give(page, "paste", "image/png", 64)
    give(page, "drop", "image/webp", 96)
    give(page, "drop", "image/webp", 3000)
    shown = SIZES.format(".picture img")
    wanted = [[64, "data:image/png;"], [96, "data:image/png;"], [2048, "data:image/png;"]]
    eventually(lambda: page.run(shown) == wanted, "all are there, in formats that are taken")
    page.run("document.querySelectorAll('.picture')[2].click()")
    page.say("What is it?")
    assert answered(page, 2)
    assert page.run(SIZES.format(".message.user img")) == wanted[:2]
    assert page.text(".failure") == ""
    assert not page.errors()


def test_a_picture_needs_no_text(opened: Open, seeing: ForgeServer) -> None:
    page = opened(seeing)
    eventually(page.live, "the stream is there")
    eventually(page.driver.find_element("id", "chat-attach").is_displayed, "a button")
    settings(page, max_tokens=4)
    give(page, "drop", "image/png", 64)
    eventually(lambda: len(page.run(SIZES.format(".picture img"))) == 1, "it is there")
    page.click("#chat-send")
    answered(page, 2)
    eventually(page.idle, "the end of the answer")
    assert page.text(".failure") == ""
