"""Build docs/ as a site in site/: ``python -m deploy.docs_site``, which ``make docs`` runs.

Pages link to files outside of docs/ (reports, sources), which is right for readers of the
repository. A site has docs/ alone, so the files that are linked to are copied beside the pages, and
the links follow. Zensical fails on broken links and anchors.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
STAGE = ROOT / "build" / "docs"
COPIES = STAGE / "docs" / "repository"
"""Where files from outside of docs/ are."""
AS_THEY_ARE = (".md", ".png", ".svg", ".json", ".txt")
_CODE_OR_LINK = re.compile(
    r"^```.*?^```"
    r"|(?P<text>!?\[(?:[^\]`]|`[^`\n]*`)*\])\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)"
    r"|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)


def main(root: Path = ROOT / "site") -> int:
    """Write the site to ``root``; return Zensical's exit code."""
    shutil.rmtree(STAGE, ignore_errors=True)
    stage()
    shutil.copy(ROOT / "mkdocs.yml", STAGE)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=STAGE
    )
    if done.returncode == 0:
        shutil.rmtree(root, ignore_errors=True)
        shutil.move(STAGE / "site", root)
    return done.returncode


def stage() -> None:
    """Copy docs/, and every file that its pages link to, directly or through other files."""
    waiting, seen = sorted(path for path in DOCS.rglob("*") if path.is_file()), set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            target = place(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                target.write_text(relinked(path, waiting.append), "utf-8")
            else:
                shutil.copy(path, target)


def place(path: Path) -> Path:
    """Return where the site has a file of the repository."""
    if path.is_relative_to(DOCS):
        return STAGE / "docs" / path.relative_to(DOCS)
    name = path.name if path.suffix in AS_THEY_ARE else f"{path.name}.txt"
    return COPIES / path.relative_to(ROOT).with_name(name)


def relinked(page: Path, wanted: Callable[[Path], None]) -> str:
    """Return a page's text with links as the site has them; ``wanted`` gets their targets."""

    def moved(match: re.Match[str]) -> str:
        if match["path"] is None:
            return match[0]  # code
        target = (page.parent / match["path"]).resolve()
        if target.is_dir():
            return match["text"].strip("[]")  # a site shows no folders
        if not target.is_file():
            return match[0]  # Zensical tells where it is
        wanted(target)
        path = os.path.relpath(place(target), place(page).parent)
        return f"{match['text']}({path}{match['anchor'] or ''})"

    return _CODE_OR_LINK.sub(moved, page.read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
