"""The chat beside what else happens: a flood, and workers that die."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.conftest import Open
from tests.browser.test_chat import answered, settings
from tests.conftest import Start
from tests.support.f32 import f32_copy
from tests.support.killing import kill, stopped
from tests.support.server import MODEL, ForgeServer, eventually

STORY = "Tell me a very long story."
LONG: dict[str, Any] = {"temperature": 0.8, "seed": 7, "max_tokens": 900, "ignore_eos": True}


def test_a_flood_beside_a_chat(opened: Open, server: ForgeServer) -> None:
    page = opened(server)
    eventually(page.live, "the stream is there")
    page.run("document.querySelector('[name=priority][value=urgent]').click()")
    page.click("#flood")
    eventually(lambda: page.text("#now-waiting") not in ("0", "\u2013"), "requests wait")
    for number in range(1, 4):
        page.say("hello")
        texts = answered(page, 2 * number)
        assert texts[-1]
    assert page.text(".failure") == ""
    page.driver.refresh()  # no more waves
    eventually(lambda: server.busy() == 0 and not server.waiting(), "it drains")


def test_a_worker_killed_in_mid_answer_is_a_pause(
    opened: Open, start_server: Start, tmp_path: Path
) -> None:
    """The same text as without, no error, and while nothing comes the page says so."""
    f32_copy(MODEL, tmp_path / "exact.gguf")
    config = tmp_path / "forge.toml"
    config.write_text(
        f'[models.exact]\nmodel = "{tmp_path / "exact.gguf"}"\nworkers = 1\nslots = 1\n'
        "threads = 1\nsampling = { ignore_eos = true }\n"
    )
    server = start_server("--config", str(config), "--stuck-timeout", "3600", model=None)
    body = {"messages": [{"role": "user", "content": STORY}], **LONG}
    with server.client() as client:
        whole = client.post("/v1/chat/completions", json=body).json()
    expected = whole["choices"][0]["message"]["content"]
    page = opened(server)
    eventually(page.live, "the stream is there")
    settings(page, **{name: value for name, value in LONG.items() if name != "ignore_eos"})
    page.say(STORY)
    eventually(lambda: len(page.text(".said")) > 20, "it has begun")
    (pid,) = server.pids()
    with stopped(pid):
        eventually(
            lambda: page.text(".message:last-child .note").startswith("Pausing for"), "a pause"
        )
        assert page.text("#chat-send") == "Stop"
        assert len(page.text(".said")) < len(expected)
        kill(pid)
    eventually(page.idle, "it goes on to its end")
    assert page.text(".failure") == ""
    said = page.run("return document.querySelector('.said').innerText")
    assert said.split() == expected.split()
    eventually(lambda: "1 restart" in page.text("#workers"), "the page knows")
