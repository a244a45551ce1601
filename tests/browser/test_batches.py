"""The list of batches on the page: those of its key, with their progress, and a way to end one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.browser.conftest import Open
from tests.browser.test_axe import RUN, findings
from tests.conftest import Start
from tests.support.server import ALIAS, ForgeServer, eventually

if TYPE_CHECKING:
    from tests.support.chromium import Page

CHAT: Any = "/v1/chat/completions"
ROWS = """
return [...document.querySelectorAll("#batches > tr")].map((row) => ({
  id: row.dataset.id,
  cells: [...row.cells].map((cell) => cell.textContent),
  bar: row.querySelector("progress").value,
  cancel: !row.querySelector("button").hidden && !row.querySelector("button").disabled,
}));
"""
KEYS = """
[[key]]
name = "one"
key = "sk-one"

[[key]]
name = "two"
key = "sk-two"
"""


def rows(page: Page) -> dict[str, dict[str, Any]]:
    """The batches that are listed, by their ids."""
    return {row["id"]: row for row in page.run(ROWS)}


def batch(server: ForgeServer, key: str, count: int, **body: Any) -> str:
    """Make a batch of so many lines; its id."""
    asked = {"model": ALIAS, "messages": [{"role": "user", "content": "a story"}], **body}
    lines = [
        json.dumps({"custom_id": str(n), "method": "POST", "url": CHAT, "body": asked})
        for n in range(count)
    ]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
        made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    return made.id


@pytest.fixture
def keyed(start_server: Start, tmp_path: Path) -> ForgeServer:
    """Two keys, and one slot."""
    keys = tmp_path / "keys.toml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    options = ("--workers", "1", "--slots", "1", "--api-key-file", str(keys))
    return start_server(*options, "--data-dir", str(tmp_path / "data"), key="sk-one")


def test_batches_of_the_pages_key_are_listed_and_cancelled(
    opened: Open, keyed: ForgeServer
) -> None:
    from tests.support.chromium import DESKTOP, PHONE

    page = opened(keyed)
    field = page.driver.find_element("id", "key-field")
    eventually(field.is_displayed, "the field for the key")
    field.send_keys("sk-one", "\ue007")
    eventually(page.live, "the stream is there")
    page.errors()  # the 401 of before
    eventually(lambda: page.driver.find_element("id", "batches-empty").is_displayed(), "none yet")
    other = batch(keyed, "sk-two", 1, max_tokens=2)
    done = batch(keyed, "sk-one", 3, max_tokens=2)
    wrong = batch(keyed, "sk-one", 1, stream=True)
    long = batch(keyed, "sk-one", 300, max_tokens=200, ignore_eos=True)
    page.driver.refresh()
    ended = ["completed", CHAT, "3 of 3", "0"]
    eventually(lambda: rows(page).get(done, {"cells": []})["cells"][1:5] == ended, "it is done")
    eventually(lambda: "failed" in rows(page)[wrong]["cells"][1], "the file is wrong")
    assert "line 1: " in rows(page)[wrong]["cells"][1]
    found = rows(page)
    assert list(found) == [long, wrong, done]  # the newest first
    assert other not in found
    assert found[done]["bar"] == 3
    assert [found[id_]["cancel"] for id_ in (done, wrong)] == [False, False]
    eventually(lambda: "of 300" in rows(page)[long]["cells"][3], "it is under way")
    assert rows(page)[long]["cancel"]
    for size, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, False)):
        page.look(size, dark=dark)
        findings(page)  # brings axe; the bars of the queue come and go meanwhile
        assert page.run(RUN.replace("document,", "'#batches-card',")) == []
        width = page.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], "no sideways"
        width = page.run(
            "const it = document.querySelector('#batches-card .scroll'); "
            "return [it.scrollWidth, it.clientWidth]"
        )
        assert size == PHONE or width[0] <= width[1], "no bar under the table"
    page.look()
    button = f"#batches [data-id='{long}'] button"
    page.click(button)
    assert page.text(button) == "Sure?"
    page.click(button)
    eventually(lambda: rows(page)[long]["cells"][1] == "cancelled", "it is cancelled")
    assert not rows(page)[long]["cancel"]


def test_a_server_without_a_folder_shows_no_list(opened: Open, server: ForgeServer) -> None:
    page = opened(server)
    eventually(page.live, "the stream is there")
    assert not page.driver.find_element("id", "batches-card").is_displayed()
