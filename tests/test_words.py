"""Texts for users have a subject with a name: a request, a client, a worker; never "who"."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.main import build_parser

ROOT = Path(__file__).parent.parent
NAMELESS = re.compile(
    r"\b(?:nobody|anybody|somebody|everybody|whoever|no one|anyone|someone|everyone)\b"
    r"|(?:^|[.;:,] )who\b",
    re.IGNORECASE,
)
SOURCES = sorted(path for room in ("gateway", "workers") for path in (ROOT / room).rglob("*.py"))
BENCHES = sorted((ROOT / "bench").rglob("*.py"))


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and all below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


def raised(path: Path) -> Iterator[str]:
    """The texts of all errors that are raised in a file, as far as they are literals."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


CLAUSE = re.compile(
    r"(?:How|What|Whether|Where|When|Who|Why|Which|While|Until|Because|It|They|If|As"
    r"|Those|That|These|Whose|Nobody|Whoever|So many)\b"
)
"""The beginning of a sub-clause or of a sentence without a named subject."""


def docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a file's module, classes, functions, fields and constants."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Expr(ast.Constant(str(text))):
                yield text


PARSERS = list(commands(build_parser()))


def test_texts_are_found() -> None:
    assert len(PARSERS) > 8
    assert sum(len(list(raised(path))) for path in SOURCES) > 200


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_help(parser: argparse.ArgumentParser) -> None:
    assert NAMELESS.findall(" ".join(parser.format_help().split())) == []


def test_errors() -> None:
    found = [(str(path), text) for path in SOURCES for text in raised(path)]
    assert [(path, text) for path, text in found if NAMELESS.search(text)] == []


def test_docstrings_begin_with_a_verb_or_a_noun_phrase() -> None:
    found = [(str(path), text) for path in (*SOURCES, *BENCHES) for text in docstrings(path)]
    assert [(path, text) for path, text in found if CLAUSE.match(text)] == []
