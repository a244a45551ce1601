"""Pages name the request, client or worker that acts, and use the field's words."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, README, ROOT

PAGES = [README, ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
AVOIDED = re.compile(
    r"\b(?:nobody|anybody|somebody|everybody|no one|anyone|someone|everyone|whoever)\b"
    r"|(?:^|[.;:] )who\b"
    r"|\b(?:reckon(?:s|ed)?|foretell(?:s)?|foretold|signs? of life|mak(?:es?|ing) way|made way)\b",
    re.IGNORECASE | re.MULTILINE,
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_in_plain_words(page: Path) -> None:
    """Also the generated parts, which are the words of the code."""
    text = _CODE.sub("", page.read_text("utf-8"))
    assert AVOIDED.findall(text) == []
