"""Files and names of the code that the documentation mentions exist."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

PAST = {DOCS / "upgrading.md"}
"""Also tells of modules that were there once."""
PAGES = sorted(
    {ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md"), *ROOT.glob("examples/*")}
    - PAST
)
_PATH = re.compile(
    r"(?<![\w/.-])((?:gateway|workers|tests|bench|examples|deploy)/[\w/.-]*[\w/])((?:::[\w.]+)?)"
)


def named(page: Path) -> set[tuple[str, str]]:
    """Return the paths on a page, each with the name behind its ``::`` if there is one."""
    text = page.read_text("utf-8")
    return {(path, name.removeprefix("::")) for path, name in _PATH.findall(text)}


def defined(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Return what a module or a class defines, each with the body of its own."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node.body
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: [] for target in targets if isinstance(target, ast.Name)}
    return found


def has(source: Path, dotted: str) -> bool:
    """Tell whether a file defines ``Class``, ``Class.method``, ``function`` or ``CONSTANT``."""
    body = ast.parse(source.read_text("utf-8")).body
    for name in dotted.split("."):
        scope = defined(body)
        if name not in scope:
            return False
        body = scope[name]
    return True


def wrong(page: Path) -> list[str]:
    """Return the paths and names of a page that lead nowhere."""
    return [
        f"{path}::{name}" if name else path
        for path, name in sorted(named(page))
        if not (ROOT / path).exists() or (name and not has(ROOT / path, name))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_names_exist(page: Path) -> None:
    assert wrong(page) == []


def test_wrong_ones_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`gateway/no_such.py` `gateway/dispatch/`\n"
        "`gateway/dispatch/dispatcher.py::Dispatcher.submit`\n"
        "`gateway/dispatch/dispatcher.py::Dispatcher.no_such` `workers/sampling/stages.py::TINY`\n"
        "`workers/sampling/stages.py::HUGE` https://example.org/tests/nothing\n"
    )
    assert wrong(page) == [
        "gateway/dispatch/dispatcher.py::Dispatcher.no_such",
        "gateway/no_such.py",
        "workers/sampling/stages.py::HUGE",
    ]
