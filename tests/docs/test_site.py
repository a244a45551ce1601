"""The site is built, all of its links are whole, and it takes nothing from the network."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

pytestmark = pytest.mark.skipif(
    find_spec("zensical") is None, reason="zensical is not installed: pip install -e '.[docs]'"
)


def test_the_site_is_built(tmp_path: Path) -> None:
    build = f"import pathlib, deploy.docs_site as site; site.main(pathlib.Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True)
    assert "No issues found" in done.stderr, done.stdout + done.stderr
    for page in DOCS.rglob("*.md"):
        html = (tmp_path / page.relative_to(DOCS)).with_suffix(".html").read_text("utf-8")
        assert re.findall(r'<(?:script|link|img)[^>]*? (?:src|href)="?(https?:[^" ]*)', html) == []
