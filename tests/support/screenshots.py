"""Makes the README's pictures of the live page again: ``python -m tests.support.screenshots``."""

from __future__ import annotations

import base64
import io
import tempfile
import threading
import time
from pathlib import Path

import httpx
from PIL import Image

from tests.support.chromium import DESKTOP, PHONE, Page, chromium
from tests.support.server import ALIAS, ForgeServer, eventually

DOCS = Path(__file__).parent.parent.parent / "docs"
COLOURS = 200
SCALE = 1.5
"""Pixels of a picture for each of the page."""
BEFORE_S = 75
"""Seconds of ordinary traffic, so that the charts have something to show."""
OVERTAKEN = """
const order = { urgent: 2, normal: 1, batch: 0, other: 0 };
const rows = [...document.querySelectorAll("#jobs > .job")].slice(0, 16);
const all = rows.map((row) => order[row.dataset.class]);
return rows.length === 16 && all.some((value, at) => at > 1 && value > all[at - 1]);
"""
"""Script that tells whether old requests are before more urgent ones, where it can be seen."""
KEPT = """
return Promise.all([import("/dashboard/chat/archive.js"),
  import("/dashboard/chat/conversation.js")]).then(([archive, made]) => {
  const kept = made.fresh({ system: "Answer with code.", temperature: 0.2 });
  kept.messages = [made.question("How do I read a stream of tokens?"), {
    ...made.answer("forge-tiny"), text: arguments[0], thoughts: "OpenAI's client will do.",
    figures: { wait: 0.012, first: 0.184, tokens: 143, rate: 41 } }];
  return archive.keep(kept);
});
"""
ANSWER = """\
Any client of **OpenAI's API** does it; only `base_url` changes:

```python
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="none")
stream = client.chat.completions.create(
    model="forge-tiny",  # or any other that is served
    messages=[{"role": "user", "content": "Tell me a story."}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")
```

Three things to know:

1. A request waits in the **queue** until a worker has a slot for it.
2. `priority` says how urgent it is; what waits, ages:

   | Class | Priority | Overtakes fresh urgent work after |
   |---|--:|--:|
   | urgent | 2 | - |
   | normal | 1 | 5 s |
   | batch | 0 | 10 s |
3. If a worker dies, the stream pauses and goes on.
"""
"""Too much for the embedded model; what it says is in the other pictures."""
STORY = {"role": "user", "content": "Tell me a story about a lighthouse."}


def picture(page: Page, path: Path, *, whole: bool) -> None:
    """Take a picture of the page, all of it or what is seen without scrolling."""
    script = "return [innerWidth, innerHeight, document.documentElement.scrollHeight]"
    width, height, full = page.run(script)
    clip = {"x": 0, "y": 0, "width": width, "height": full if whole else height, "scale": 1}
    taken = page.driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole, "clip": clip}
    )
    image = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
    few = image.quantize(COLOURS, kmeans=3, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def traffic(url: str, over: threading.Event, number: int) -> None:
    """A client who asks, reads, and asks again."""
    body = {"messages": [STORY], "priority": ("batch", "normal", "urgent")[number % 3]}
    with httpx.Client(base_url=url, timeout=60) as client:
        while not over.wait(0.4 + 0.3 * number):
            client.post("/v1/chat/completions", json=body)


def main() -> None:
    """A server with the embedded model, some clients, a flood, and three looks at it."""
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder) / "profile") as driver:
        options = ("--workers", "2", "--slots", "8", "--threads", "1", "--alias", ALIAS)
        server = ForgeServer(Path(folder) / "server", *options).wait_ready()
        over = threading.Event()
        clients = [
            threading.Thread(target=traffic, args=(server.url, over, number)) for number in range(5)
        ]
        try:
            for client in clients:
                client.start()
            page = Page(driver, server.url)
            page.look(scale=SCALE)
            page.open()
            eventually(page.live, "the stream is there")
            time.sleep(BEFORE_S)
            page.say("What is aging?")
            eventually(lambda: page.idle() and len(page.messages()) == 2, "the answer is whole")
            page.say("Tell me a story about a cat.")
            eventually(lambda: page.idle() and len(page.messages()) == 4, "the answer is whole")
            page.run("document.activeElement.blur()")
            page.click("#flood")
            eventually(lambda: page.run(OVERTAKEN), "some have overtaken others")
            page.look(DESKTOP, scale=SCALE)
            picture(page, DOCS / "page-light.png", whole=True)
            page.look(DESKTOP, dark=True, scale=SCALE)
            time.sleep(1)
            picture(page, DOCS / "page-dark.png", whole=True)
            page.look(PHONE, scale=SCALE)
            time.sleep(1)
            picture(page, DOCS / "page-phone.png", whole=False)
            page.run(KEPT, ANSWER)
            page.open("/docs")
            page.open("/#chat")
            eventually(lambda: len(page.messages()) == 2, "the conversation is open")
            page.run("document.getElementById('chat-log').scrollTop = 0")
            picture(page, DOCS / "page-chat-phone.png", whole=False)
            page.look(DESKTOP, scale=SCALE)
            page.driver.refresh()
            eventually(lambda: len(page.messages()) == 2, "the conversation is open")
            for dark in (False, True):
                page.look(DESKTOP, dark=dark, scale=SCALE)
                time.sleep(1)
                page.run("document.getElementById('chat-log').scrollTop = 0")
                picture(page, DOCS / f"page-chat-{'dark' if dark else 'light'}.png", whole=False)
        finally:
            over.set()
            for client in clients:
                client.join()
            server.kill()


if __name__ == "__main__":
    main()
