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
"""Whether old requests are before more urgent ones, where it can be seen."""
STORY = {"role": "user", "content": "Tell me a story about a lighthouse."}


def picture(page: Page, path: Path, *, whole: bool) -> None:
    """What the page looks like, all of it or what is seen without scrolling."""
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
            page.click("#chat-send")
            eventually(lambda: page.text("#chat-send") == "Send", "the answer is whole")
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
        finally:
            over.set()
            for client in clients:
                client.join()
            server.kill()


if __name__ == "__main__":
    main()
