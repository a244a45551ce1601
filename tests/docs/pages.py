"""The pages of the documentation: README.md, the files beside it, and everything in docs/."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
BESIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code, and the page that shows it."""

    page: str
    """Its path from the root of the repository."""
    language: str
    text: str


def pages() -> list[Path]:
    """Return every page, README.md first."""
    return [
        *(ROOT / name for name in BESIDE if (ROOT / name).exists()),
        *sorted(DOCS.rglob("*.md")),
    ]


def blocks(language: str) -> list[Block]:
    """Return the blocks of ``language`` on all pages.

    ``bash`` blocks are curl commands and ``python`` blocks are programs; both are executed. Code
    that is only shown is ``sh``, ``py`` or ``text``.
    """
    return [
        Block(str(page.relative_to(ROOT)), language, text)
        for page in pages()
        for found, text in _BLOCK.findall(page.read_text("utf-8"))
        if found == language
    ]


def commands() -> list[Block]:
    """Return the curl commands of all ``bash`` blocks: each begins at the start of a line."""
    return [
        Block(block.page, block.language, command)
        for block in blocks("bash")
        for command in re.split(r"\n(?=curl )", block.text.strip())
    ]


def block_on(page: str, language: str) -> str:
    """Return the only block of ``language`` on ``page``. Raises ValueError if there are others."""
    (found,) = [block.text for block in blocks(language) if block.page == page]
    return found
