"""Prometheus' own linter has nothing to say about a scrape: not of its form, not of its names."""

import shutil
import subprocess

import httpx
import pytest

from tests.support.dialects import INFER
from tests.support.server import ForgeServer

PROMTOOL = shutil.which("promtool")


def complaints(text: str) -> tuple[int, str]:
    """Return the exit code of `promtool check metrics`, and all that it says."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_a_scrape_is_clean(server: ForgeServer, http: httpx.Client) -> None:
    for priority in (0, 1, 2, 7):
        INFER.ask(http, "hello", priority=priority, max_tokens=2)
    text = http.get("/metrics", headers={"Accept": "text/plain"}).text
    assert complaints(text) == (0, "")
    code, said = complaints(text.replace("forge_slots_busy", "forge_slotsBusy"))
    assert code != 0
    assert "camelCase" in said
