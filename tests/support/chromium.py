"""Debian's chromium without a window, driven by selenium."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

BROWSER = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
DESKTOP = (1280, 900)
PHONE = (375, 812)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a fresh profile in ``profile``; it ends with the block."""
    assert BROWSER is not None
    assert DRIVER is not None
    options = Options()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={profile}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """Hands and eyes of tests on the page."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def look(
        self, size: tuple[int, int] = DESKTOP, *, dark: bool = False, scale: float = 1
    ) -> None:
        """Have a window of this size, and a user who likes it dark or light."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale}
        self._cdp("Emulation.setDeviceMetricsOverride", **metrics, mobile=size == PHONE)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._cdp("Emulation.setEmulatedMedia", features=[feature])

    def open(self, path: str = "/") -> None:
        self.driver.get(self.url + path)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a function's body in the page."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """Return what is written there, seen or not; "" if it is not there."""
        script = "return document.querySelector(arguments[0])?.textContent ?? ''"
        return str(self.run(script, selector))

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def live(self) -> bool:
        """Return whether the stream is there."""
        return self.text("#status") == "live"

    def forget(self) -> None:
        """Have the browser keep nothing of this server; the page must not be open."""
        self._cdp("Storage.clearDataForOrigin", origin=self.url, storageTypes="all")

    def save_into(self, folder: Path) -> None:
        """Have files that the page offers saved in a folder."""
        self._cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def type(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        """The id of the element that has the focus."""
        return str(self.run("return document.activeElement.id"))

    # ------------------------------------------------------------------ the chat

    def say(self, text: str) -> None:
        """Send a message in the chat."""
        self.driver.find_element("id", "chat-text").send_keys(text, "\ue007")  # enter

    def idle(self) -> bool:
        """Tell if no answer of the open conversation is being made."""
        return self.text("#chat-send") == "Send"

    def messages(self, part: str = ".said, .plain") -> list[str]:
        """The texts of all messages, or another part of them."""
        script = """
        const texts = (node) => [...node.querySelectorAll(arguments[0])].map((n) => n.textContent);
        const messages = [...document.querySelectorAll(".message > .inside")];
        return messages.map((node) => texts(node).join(""));
        """
        found: list[str] = self.run(script, part)
        return found

    def errors(self) -> list[str]:
        """Return what the console has complained about since the last call."""
        entries = self.driver.get_log("browser")
        return [json.dumps(entry) for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def _cdp(self, command: str, **arguments: Any) -> None:
        self.driver.execute_cdp_cmd(command, arguments)
