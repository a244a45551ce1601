"""axe-core finds nothing serious: at the start, in a conversation, in dialogs; in all looks."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Open
from tests.browser.test_chat import answered, settings
from tests.browser.test_markdown import RENDER
from tests.support.server import ForgeServer, eventually

if TYPE_CHECKING:
    from tests.support.chromium import Page

RUN = """
return axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map(
  ({ id, impact, nodes }) => [id, impact, nodes.map((node) => node.html.slice(0, 200))]));
"""
MARKDOWN = """\
# Title

Text with `code`, a [link](https://example.org) and **more**.

```python
def f(): return "x"  # 1
```

> A quote

| a | b |
|---|--:|
| 1 | 2 |

- [x] done
"""


def findings(page: Page) -> list[Any]:
    """Return the findings of axe-core on the page, as it is."""
    pytest.importorskip("axe_playwright_python", reason="needs pip install -e '.[browser]'")
    if not page.run("return Boolean(window.axe)"):
        source = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
        page.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": source})
    found: list[Any] = page.run(RUN)
    return [each for each in found if each[1] in ("serious", "critical", "moderate")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_nothing_serious(opened: Open, server: ForgeServer, phone: bool, dark: bool) -> None:
    from tests.support.chromium import DESKTOP, PHONE

    page = opened(server)
    page.look(PHONE if phone else DESKTOP, dark=dark)
    eventually(page.live, "the stream is there")
    assert findings(page) == []
    page.say("Tell me a story about a cat.")
    answered(page, 2)
    page.run(RENDER, MARKDOWN, 1)
    page.click("#chat-list-button")
    assert findings(page) == []
    for name in ("settings", "keys"):
        page.click(f"#chat-{name}-button")
        assert findings(page) == []
        page.type("\ue00c")  # escape
    page.run("document.getElementById('rendered').remove(); location.hash = '#chat'")
    eventually(lambda: not page.driver.find_element("id", "heap").is_displayed(), "it is large")
    assert findings(page) == []
    width = page.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] == width[1], "no sideways"


def test_with_an_error_and_a_call(opened: Open, server: ForgeServer) -> None:
    page = opened(server)
    eventually(page.live, "the stream is there")
    settings(page, tools='[{"type": "function", "function": {"name": "now"}}]', temperature=0)
    page.run(
        """
        return Promise.all([import("/dashboard/chat/archive.js"),
          import("/dashboard/chat/conversation.js")]).then(([archive, made]) => {
          const kept = made.fresh();
          const said = { text: "Let me see.", thoughts: "Hm.", error: "The queue is full." };
          const calls = [{ id: "c", name: "now", arguments: "{}" }];
          const question = made.question("What time is it?");
          kept.messages = [question, { ...made.answer("m"), ...said, calls }];
          return archive.keep(kept);
        });
        """
    )
    page.driver.refresh()
    eventually(lambda: len(page.messages()) == 2, "it is open")
    page.click(".thoughts summary")
    assert findings(page) == []
