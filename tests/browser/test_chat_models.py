"""Abilities of some models: thoughts, tools, pictures. And the choice among several."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Open
from tests.browser.test_chat import answered, press, settings
from tests.conftest import Start
from tests.contract.test_other_models import THINKING
from tests.contract.test_tools import TOOLS
from tests.support.f32 import f32_copy
from tests.support.server import MODEL, ForgeServer, eventually
from tests.support.shared_servers import SharedServers

if TYPE_CHECKING:
    from tests.support.chromium import Page

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SEEING = """
const real = window.fetch;
window.bodies = [];
window.fetch = async (path, options) => {
  if (path === "v1/models") {
    const body = await (await real(path, options)).json();
    for (const card of body.data) card.architecture.input_modalities.push("image");
    return Response.json(body);
  }
  if (path === "v1/chat/completions") window.bodies.push(JSON.parse(options.body));
  return real(path, options);
};
const pictures = await import("/dashboard/chat/pictures.js");
await pictures.learn();
pictures.offer(document.getElementById("model").textContent);
"""
"""A server whose list of models says that they take pictures."""


@pytest.fixture(scope="module")
def thinking(
    tmp_path_factory: pytest.TempPathFactory, shared_servers: SharedServers
) -> ForgeServer:
    """The embedded model with a template whose prompts end in a thought."""
    file = tmp_path_factory.mktemp("thinking") / "thinking.gguf"
    f32_copy(MODEL, file, THINKING)
    return shared_servers("--workers", "1", "--slots", "4", model=file)


def test_thoughts_are_folded(opened: Open, thinking: ForgeServer) -> None:
    page = opened(thinking)
    eventually(page.live, "the stream is there")
    assert not page.driver.find_element("id", "chat-tiny").is_displayed(), "another file"
    settings(page, temperature=0, max_tokens=30)
    page.say("what is 2+2?")
    answered(page, 2)
    thoughts = page.driver.find_element("css selector", ".thoughts")
    assert thoughts.is_displayed()
    assert thoughts.get_attribute("open") is None
    page.click(".thoughts summary")
    eventually(lambda: page.text(".thoughts .markdown") != "", "what it thought")
    settings(page, thoughts="off")
    press(page, "r")
    eventually(lambda: page.idle() and page.messages()[-1] != "", "an answer")
    assert not page.driver.find_element("css selector", ".thoughts").is_displayed()


def test_tools_are_called_and_answered(opened: Open, server: ForgeServer) -> None:
    page = opened(server)
    eventually(page.live, "the stream is there")
    settings(page, temperature=0, tools=json.dumps(TOOLS))
    page.say("What is the weather in Paris?")
    eventually(lambda: page.idle() and page.text(".call code") == "get_weather", "a call")
    assert json.loads(page.text(".call pre")) == {"city": "Paris"}
    page.click(".call textarea")
    page.type("21 degrees and sun", "\ue004", "\ue007")  # tab, enter
    *_, given, said = answered(page, 4)
    assert given == "21 degrees and sun"
    assert said
    assert not page.driver.find_element("css selector", ".call form").is_displayed()
    page.say("hello")
    assert answered(page, 6)[-1], "and on"


def attach(page: Page, path: Path) -> None:
    page.driver.find_element("id", "chat-pictures").send_keys(str(path))


def test_without_pictures_there_is_no_control(opened: Open, server: ForgeServer) -> None:
    page = opened(server)
    eventually(page.live, "the stream is there")
    page.say("hello")
    answered(page, 2)
    assert not page.driver.find_element("id", "chat-attach").is_displayed()


def test_pictures_are_sent_to_models_that_take_them(
    opened: Open, server: ForgeServer, tmp_path: Path
) -> None:
    page = opened(server)
    eventually(page.live, "the stream is there")
    page.run(f"return (async () => {{{SEEING}}})()")
    assert page.driver.find_element("id", "chat-attach").is_displayed()
    (tmp_path / "pixel.png").write_bytes(base64.b64decode(PIXEL))
    (tmp_path / "text.txt").write_text("no picture")
    attach(page, tmp_path / "pixel.png")
    attach(page, tmp_path / "text.txt")
    eventually(lambda: page.run("return document.querySelectorAll('.picture').length") == 1, "one")
    page.say("What is this?")
    eventually(lambda: page.idle() and page.text(".failure") != "", "this model does not take it")
    (body,) = page.run("return window.bodies")
    url = f"data:image/png;base64,{PIXEL}"
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "What is this?"},
            ],
        }
    ]
    assert page.driver.find_element("css selector", ".message.user img").get_attribute("src") == url
    assert all("400" in error for error in page.errors())


def test_one_of_several_models_is_chosen(opened: Open, start_server: Start, tmp_path: Path) -> None:
    """The next conversation begins with it, too; nothing goes to the others."""
    file = tmp_path / "models.toml"
    tables = [f"[models.{name}]\nmodel = '{MODEL}'\nworkers = 1\n" for name in ("first", "second")]
    file.write_text("\n".join(tables))
    server = start_server("--config", str(file), model=None)
    page = opened(server)
    eventually(page.live, "the stream is there")
    select = page.driver.find_element("id", "chat-model")
    eventually(select.is_displayed, "a choice")
    assert select.text.split() == ["first", "second"]
    select.send_keys("second")
    settings(page, max_tokens=8)
    page.say("what is 2+2?")
    answered(page, 2)
    eventually(page.idle, "the end of the answer")
    page.click("#chat-new")
    assert select.get_attribute("value") == "second"

    def asked(name: str) -> float:
        with server.client() as client:
            lines = client.get("/metrics", headers={"Accept": "text/plain"}).text.splitlines()
        of = [line for line in lines if line.startswith("forge_requests_total{")]
        return sum(float(line.split()[-1]) for line in of if f'model="{name}"' in line)

    eventually(lambda: asked("second") == 1, "it was asked")
    assert asked("first") == 0


def test_a_message_before_what_is_kept_has_come_is_answered(
    opened: Open, server: ForgeServer
) -> None:
    """The browser's database may take its time; nothing that is written meanwhile is lost."""
    page = opened(server)
    script = "IDBFactory.prototype.open = () => ({});"
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        page.driver.refresh()
        eventually(page.live, "the stream is there")
        page.say("what is 2+2?")
        eventually(lambda: len(page.messages()) == 2 and page.messages()[-1] != "", "an answer")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
