"""Names of files, as clients send them and as they are told."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.files.filename import LONGEST, attachment, cleaned


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("a.jsonl", "a.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.jsonl", "a.jsonl"),
        ("/", "file"),
        ("..", "file"),
        ("", "file"),
        ("\x1b[31mred\x07.txt", "[31mred.txt"),
        ("exe.\u202etxt.js", "exe.txt.js"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("übung 1.jsonl", "übung 1.jsonl"),
        ("x" * 1000 + ".jsonl", "x" * (LONGEST - 6) + ".jsonl"),
        ("x." + "y" * 1000, "x." + "y" * (LONGEST - 2)),
    ],
)
def test_examples(given_name: str, kept: str) -> None:
    assert cleaned(given_name) == kept


@given(st.text(max_size=400))
def test_a_name_is_harmless_and_comes_back(name: str) -> None:
    kept = cleaned(name)
    assert 0 < len(kept) <= LONGEST
    assert kept.isprintable()
    assert not set(kept) & {"/", "\\"}
    assert cleaned(kept) == kept
    header = attachment(kept)
    assert header.isascii()
    assert header.isprintable()
    found = re.fullmatch(r"attachment; filename=\"([^\"\\]+)\"; filename\*=UTF-8''([^; ]+)", header)
    assert found is not None
    assert len(found[1]) == len(kept)
    assert unquote(found[2]) == kept
