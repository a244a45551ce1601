"""Relative links and anchors of all pages resolve; README.md stays short, its figures measured."""

import re
from pathlib import Path

import pytest
import yaml

from deploy import docs_site
from tests.docs.links import anchors, broken
from tests.docs.pages import DOCS, README, ROOT, pages

MOST_LINES = 250


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_are_whole(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A, b\n\n[x](#a-b) [y](#c) [z](none.md) `[code](no-link.md)` [w](https://w)\n"
    )
    assert anchors(page) == {"a-b"}
    assert broken(page) == ["#c", "none.md"]


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= MOST_LINES


def test_the_figures_of_the_readme_are_in_the_reports() -> None:
    """Each bold number of the table, in the report to which its row links."""
    section = README.read_text("utf-8").partition("## Five figures\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if "bench/results/" in line]
    assert len(rows) == 5
    for row in rows:
        (report,) = re.findall(r"\((bench/results/.*?)\)", row)
        text, figures = (ROOT / report).read_text("utf-8"), re.findall(r"\*\*([\d.,]+x?)", row)
        assert len(figures) >= 3
        assert [figure for figure in figures if figure not in text] == []


def test_every_page_is_in_the_navigation() -> None:
    listed = set(paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert listed - there == set()
    # One page leads to all decision records.
    assert {page for page in there - listed if not page.startswith("adr/")} == set()


def paths(entry: object) -> list[str]:
    """The pages below an entry of the navigation."""
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    assert hasattr(inner, "__iter__")
    return [path for each in inner for path in paths(each)]


def test_the_site_has_what_pages_link_to_outside_of_docs() -> None:
    wanted = list[Path]()
    page = DOCS / "guides" / "models.md"
    text = docs_site.relinked(page, wanted.append)
    source = ROOT / "gateway" / "model_files" / "source.py"
    assert source in wanted
    assert "](../repository/gateway/model_files/source.py.txt)" in text
    assert docs_site.place(DOCS / "index.md") == docs_site.STAGE / "docs" / "index.md"
