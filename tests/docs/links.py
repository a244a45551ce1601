"""The links and headings of a page, as GitHub and the site read them."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`[^`\n]+`")
_MARKDOWN = re.compile(r"\]\(([^)\s]+)\)")
_HTML = re.compile(r'(?:href|src|srcset)="([^"]+)"')
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z]+:")


def links(page: Path) -> Iterator[str]:
    """Yield the relative links of ``page``, those of images included."""
    text = _INLINE.sub("", _FENCE.sub("", page.read_text("utf-8")))
    for pattern in (_MARKDOWN, _HTML):
        for target in pattern.findall(text):
            if not _ELSEWHERE.match(target):
                yield target


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return what links to ``page`` may have behind the ``#``."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text("utf-8")))
    found = set[str]()
    for heading in headings:
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        if slug in found:
            slug += f"-{sum(each == slug or each.startswith(f'{slug}-') for each in found)}"
        found.add(slug)
    return frozenset(found)


def broken(page: Path) -> list[str]:
    """Return the links of ``page`` that lead nowhere."""
    found = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(target)
    return found
