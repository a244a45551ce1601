"""Markdown in the page: what it becomes, and what hostile text does not become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Open
from tests.support.pattern_steps import Steps
from tests.support.server import ForgeServer, eventually

if TYPE_CHECKING:
    from tests.support.chromium import Page

RENDER = """
const [text, steps] = arguments;
return import("/dashboard/markdown/markdown.js").then(({ Markdown }) => {
  document.getElementById("rendered")?.remove();
  const home = document.createElement("div");
  home.id = "rendered";
  home.className = "markdown";
  document.getElementById("charts").before(home);
  const shown = new Markdown(home);
  for (let at = 1; at <= steps; at += 1) {
    shown.show(text.slice(0, Math.ceil((at * text.length) / steps)));
  }
  const nodes = [...home.querySelectorAll("*")];
  const depth = (node) => (node === home ? 0 : 1 + depth(node.parentNode));
  return {
    html: home.innerHTML,
    text: home.textContent,
    names: [...new Set(nodes.map((node) => node.localName))].sort(),
    attributes: [...new Set(nodes.flatMap((node) => node.getAttributeNames()))].sort(),
    links: [...home.querySelectorAll("a")].map((node) => [node.href, node.rel, node.target]),
    count: nodes.length,
    depth: Math.max(0, ...nodes.slice(-2000).map(depth)),
  };
});
"""
"""A text shown in so many steps, as a stream would; and what has come of it."""
ALLOWED = {
    *("a", "blockquote", "br", "button", "code", "del", "div", "em", "figcaption", "figure"),
    *("h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span", "strong"),
    *("table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES = {"class", "href", "rel", "target", "start", "scope", "type", "tabindex", "role"} | {
    "aria-label"
}
RENDERED = {
    "a *b* **c** ***d*** _e_ __f__ ~~g~~": (
        "<p>a <em>b</em> <strong>c</strong> <strong><em>d</em></strong> <em>e</em>"
        " <strong>f</strong> <s>g</s></p>"
    ),
    "2 * 3 * 4, snake_case_name, **open and `code *x*`": (
        "<p>2 * 3 * 4, snake_case_name, **open and <code>code *x*</code></p>"
    ),
    r"\*not\* `` a ` b `` \d": "<p>*not* <code>a ` b</code> \\d</p>",
    "4.": "<p>4.</p>",
    "one\ntwo\n\nthree": "<p>one<br>two</p><p>three</p>",
    "# A #\n### B\ntext\n***\nend": "<h3>A</h3><h5>B</h5><p>text</p><hr><p>end</p>",
    "- a\n  - b\n  - c\n- d": "<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>",
    "3. a\n4. b\n\n   more": '<ol start="3"><li>a</li><li>b<p>more</p></li></ol>',
    "- [ ] a\n- [x] *b*": (
        '<ul><li class="task">\u2610 a</li><li class="task">\u2611 <em>b</em></li></ul>'
    ),
    "> a\n> - b\n\nc": "<blockquote><p>a</p><ul><li>b</li></ul></blockquote><p>c</p>",
    "|a|b|\n|-|-:|\n|1|`2`|\n|x \\| y|": (
        '<div class="wide-table" tabindex="0"><table><thead><tr><th scope="col">a</th>'
        '<th class="right" scope="col">b</th></tr></thead><tbody><tr><td>1</td>'
        '<td class="right"><code>2</code></td></tr><tr><td>x | y</td><td class="right"></td></tr>'
        "</tbody></table></div>"
    ),
}
HOSTILE = {
    "script": "<script>window.hit = 1</script>",
    "handler": '<img src=x onerror="window.hit=1"> <svg/onload=window.hit=1>',
    "javascript link": "[a](javascript:window.hit=1) [b](JaVaScRiPt:alert) [c](java\tscript:x)",
    "autolink": "<javascript:window.hit=1> <data:text/html,x> <https:javascript:x>",
    "data link": "[a](data:text/html;base64,PHNjcmlwdD4=) [b](vbscript:x) [c](file:///etc/passwd)",
    "data picture": "![a](data:image/svg+xml,<svg/onload=window.hit=1>)",
    "relative": "[a](/models/unload) [b](//evil.example) [c](../x) [d](#chat) [e](?x)",
    "language": '```"><script>window.hit=1</script>\nx\n```',
    "table": "|<b onclick=window.hit=1>|\n|-|\n|<iframe src=//evil.example>|",
    "heading": "# <style>*{display:none}</style>",
    "entity": "&lt;script&gt; &#60;script&#62;",
    "comment": "<!-- --> <![CDATA[x]]> <?php ?>",
    "label": '[<img src=x onerror=window.hit=1>](https://example.org/"onclick="x)',
    "control": "\x00 \x1b[31m \u202e \u2028 \ufeff",
}
HUGE = {
    "one line": "x" * 1_000_000,
    "words in a line": "word " * 79_000,
    "brackets": "[" * 390_000,
    "labels": "[a](" * 97_000,
    "links": "[a](b " * 66_000,
    "pictures": "![" * 190_000,
    "stars": "*a " * 130_000,
    "closed stars": "*a*" * 130_000,
    "pairs": "**a*_b_" * 55_000,
    "backticks": "".join("`" * (number % 600 + 1) + " " for number in range(1200)),
    "unclosed backticks": "`a " * 130_000,
    "escapes": "\\" * 390_000,
    "addresses": "https://a.b/) " * 28_000,
    "closing brackets": "http://a" + ")" * 390_000,
    "angles": "<" * 390_000,
    "list in a line": "- " * 190_000 + "x",
    "list in depth": "\n".join(" " * (2 * depth) + "- x" for depth in range(600)),
    "list in length": "- x\n" * 97_000,
    "numbers": "1. " * 130_000,
    "quotes": ">" * 390_000,
    "quotes in depth": "\n".join("> " * depth + "x" for depth in range(600)),
    "fences": "```\n" * 97_000,
    "unclosed fence": "```python\n" + "x = 1  # y\n" * 35_000,
    "headings": "#" * 390_000,
    "spaced heading": "#" + " " * 390_000 + "x",
    "rules": "- " * 190_000,
    "pipes": "|" * 195_000 + "\n" + "|-" * 97_000,
    "columns": "|a" * 900 + "|\n" + "|-" * 900 + "|\n" + ("|b" * 900 + "|\n") * 100,
    "rows": "|a|b|\n|-|-|\n" + "|1|2|\n" * 60_000,
    "empty lines": "\n" * 390_000,
    "spaces": " " * 390_000,
    "breaks": "<br>" * 97_000,
    "underlines": "_" * 390_000,
    "strings in code": "```js\n" + '"' * 19_000 + "\n```",
    "comments in code": "```c\n" + "/* " * 6_000 + "\n```",
    "escapes in code": ("```c\n" + '\\"' * 9_900 + "\n```\n") * 5,
    "spaces in a link": "[a](" + " " * 100_000,
    "links of spaces": ("[a](" + " " * 40) * 2_500,
    "long fence": "`" * 100_000 + "\nx",
    "spaces in tables": "|a|b|\n" + ("|" + " " * 1990 + "x|-\n") * 50,
    "closing brackets within": ("http://a" + ")" * 900 + "x ") * 110,
}
ATTACKS = {
    "spaces": ("", " ", "x"), "tabs": ("", "\t", "x"), "spaces after a mark": ("- ", " ", "x"),
    "rules": ("", "- ", "x"), "stars": ("", "*", "x"), "strokes": ("", "|", "x"),
    "delimiters": ("", "|-", "x"), "spaced strokes": ("|", " |", "x-"), "colons": ("", ":-", "x"),
    "backticks": ("", "`", "x"), "labels": ("", "[a](", ""), "addresses": ("[a](b", "(c)", ""),
    "spaces in a link": ("[a](", " ", ""), "spaces in links": ("", "[a](  ", ""),
    "titles": ("", '[a](b "', ""), "spaces after a title": ('[a](b "c"', " ", ""),
    "escapes in labels": ("", "[a\\[", ""), "escapes": ("", "\\", "x"),
    "escaped quotes": ('"', '\\"', ""), "escaped apostrophes": ("'", "\\'", ""),
    "escaped backticks": ("`", "\\`", ""), "quotes": ('"', '"', ""), "comments": ("", "/* ", ""),
    "comment": ("/*", "*", ""), "long strings": ("", '"""', '"'), "hashes": ("", "#", "x"),
    "addresses in a row": ("", "http://a", ""), "angles": ("", "<http://a", ""),
    "digits": ("", "1", "x"), "numbers": ("", "1.", "x"), "letters": ("", "a", "-"),
    "brackets": ("http://a", ")", "x"), "stops": ("http://a", ".", "x"), "dashes": ("", "-", "x"),
    "angle quotes": ("", "> ", "x"), "lines": ("", "a\n", "`"), "breaks": ("", "<br", ""),
}  # fmt: skip
"""Texts of any length, as a beginning, a part that is repeated, and an end."""
PATTERNS = """
const seen = new Set();
const { exec } = RegExp.prototype;
RegExp.prototype.exec = function (text) {
  seen.add(this.source);
  return exec.call(this, text);
};
const [texts] = arguments;
return import("/dashboard/markdown/markdown.js").then(({ Markdown }) => {
  const shown = new Markdown(document.createElement("div"));
  for (const text of texts) shown.show(text);
  RegExp.prototype.exec = exec;
  return [...seen];
});
"""
"""The patterns that are used when these texts are shown: every use of one calls exec."""


@pytest.fixture
def page(opened: Open, server: ForgeServer) -> Page:
    page = opened(server)
    eventually(page.live, "the stream is there")
    return page


def test_what_it_becomes(page: Page) -> None:
    for text, html in RENDERED.items():
        assert page.run(RENDER, text, 1)["html"] == html
        assert page.run(RENDER, text, len(text))["html"] == html, "letter by letter it is the same"


def test_code(page: Page) -> None:
    source = 'def f(x):\n    return "a" + x  # 12 <b>\n'
    shown = page.run(RENDER, f"See:\n```python\n{source}```\nend", 20)
    colours = page.run(
        "return [...document.querySelectorAll('#rendered pre span')]"
        ".map((n) => [n.className, n.textContent])"
    )
    assert colours == [
        ["word", "def"],
        ["word", "return"],
        ["string", '"a"'],
        ["comment", "# 12 <b>"],
    ]
    assert source.strip() in shown["text"]
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": page.url},
    )
    page.click("#rendered .copy")
    eventually(lambda: page.text("#rendered .copy") == "Copied", "it is copied")
    assert page.run("return navigator.clipboard.readText()").rstrip("\n") == source.rstrip("\n")
    page.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.run(RENDER, "```\nby hand\n```", 1)
    page.click("#rendered .copy")
    eventually(lambda: page.text("#rendered .copy") == "Copied", "it is copied without, too")


def test_links_leave_with_nothing(page: Page) -> None:
    text = (
        "[a **b**](https://example.org/a_(b)) <http://example.org/x> https://example.org/y). "
        '![pic](https://example.org/p.png) [t](http://example.org "title") xhttps://example.org'
    )
    shown = page.run(RENDER, text, 1)
    assert [link[0] for link in shown["links"]] == [
        "https://example.org/a_(b)",
        "http://example.org/x",
        "https://example.org/y",
        "https://example.org/p.png",
        "http://example.org/",
    ]
    assert {tuple(link[1:]) for link in shown["links"]} == {
        ("noopener noreferrer nofollow", "_blank")
    }
    assert "img" not in shown["names"]


def test_a_growing_text_keeps_its_nodes(page: Page) -> None:
    kept = page.run(
        """
        return import("/dashboard/markdown/markdown.js").then(({ Markdown }) => {
          const home = document.createElement("div");
          const shown = new Markdown(home);
          shown.show("one\\n\\n```js\\na");
          const [first, code] = home.children;
          shown.show("one\\n\\n```js\\nab\\n```\\n\\nthree");
          return [home.children[0] === first, home.children[1] === code, home.children.length];
        });
        """
    )
    assert kept == [True, True, 3]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_text(page: Page, text: str) -> None:
    shown = page.run(RENDER, text, 3)
    assert set(shown["names"]) <= ALLOWED
    assert set(shown["attributes"]) <= ATTRIBUTES
    assert all(href.startswith(("http://", "https://")) for href, *_ in shown["links"])
    assert not any(href.startswith(page.url) for href, *_ in shown["links"])
    assert page.run("return window.hit") is None
    if "javascript:" in text.lower():
        assert "javascript:" in shown["text"].lower(), "it can be read"


def lossy(text: str) -> bool:
    """Tell if a text has letters that are not shown: numbers of lists, columns beyond the bound."""
    return text.startswith(("1. ", "|a|a", "<br>", "```"))


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_huge_text_is_bounded(page: Page, text: str) -> None:
    """Elements and depth have bounds, nothing is lost, and the page answers; in linear time."""
    shown = page.run(RENDER, text, 1)
    assert shown["count"] <= 21_000
    assert shown["depth"] <= 40
    assert set(shown["names"]) <= ALLOWED
    letters = [sum(each.isalnum() for each in found) for found in (text, shown["text"])]
    assert letters[0] <= letters[1] or lossy(text), "nothing is lost"
    assert page.run("return document.getElementById('chat-text').offsetHeight") > 0


def test_steps_of_every_pattern_grow_as_the_text(page: Page) -> None:
    """Twice the text may take twice the steps; three times would be on the way to their square."""
    code = [f"```{language}\nx = 1 // y\n```" for language in ("python", "c", "sql")]
    patterns = page.run(PATTERNS, [*RENDERED, *HOSTILE.values(), "http://a.b", *code])
    plain = [each for each in patterns if r"\p{" not in each]  # of one letter each
    assert len(plain) > 20
    for source in plain:
        steps = Steps(source)
        for name, (before, part, after) in ATTACKS.items():
            short, long = (steps.of(before + part * size + after) for size in (400, 800))
            assert long < 3 * short, f"{name}: {source}"


def test_hostile_text_in_an_answer(page: Page) -> None:
    """The whole way: said by a person, and by a model as it is kept; and what an export has."""
    page.run(
        """
        return Promise.all([import("/dashboard/chat/archive.js"),
          import("/dashboard/chat/conversation.js")]).then(([archive, made]) => {
          const kept = made.fresh();
          const [text] = arguments;
          const call = { id: "c", name: text, arguments: text };
          kept.title = text;
          kept.messages = [made.question(text),
            { ...made.answer(text), text, thoughts: text, calls: [call], error: text }];
          return archive.keep(kept);
        });
        """,
        "\n".join(HOSTILE.values()),
    )
    page.driver.refresh()
    eventually(lambda: len(page.messages()) == 2, "it is open")
    page.click(".thoughts summary")
    page.click("#chat-list-button")
    eventually(lambda: page.text("#chat-list .name"), "it is listed")
    assert "<script>" in page.text(".said")
    assert (
        page.run("return document.querySelectorAll('#chat :is(script, iframe, svg, style)').length")
        == 0
    )
    assert page.run("return document.querySelectorAll('.message img').length") == 0
    assert page.run("return window.hit") is None
