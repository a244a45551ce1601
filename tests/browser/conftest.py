"""One browser for all tests of the folder; they are skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Start
from tests.support.server import ForgeServer

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.support.chromium import Page

Open = Callable[[ForgeServer], "Page"]


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[browser]'")
    from tests.support.chromium import BROWSER, DRIVER, chromium

    if BROWSER is None or DRIVER is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def opened(chrome: Chrome, start_server: Start) -> Iterator[Open]:
    """Opens the page of a server. The browser's console must have nothing to complain about.

    It keeps no conversation from before. After ``start_server``, so that the page is left before
    its server ends, which it would notice.
    """
    from tests.support.chromium import Page

    pages: list[Page] = []

    def open_(server: ForgeServer) -> Page:
        page = Page(chrome, server.url)
        page.look()
        page.errors()
        page.forget()
        page.open()
        pages.append(page)
        return page

    yield open_
    errors = pages[-1].errors() if pages else []
    chrome.get("about:blank")
    assert errors == []
