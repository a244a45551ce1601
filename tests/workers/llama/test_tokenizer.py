"""Our tokeniser against llama.cpp's own, over every kind of vocabulary."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import llama_cpp
import pytest
from gguf import PoolingType, TokenType
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.config import EMBEDDED_MODEL
from tests.support.encoder import encoder
from tests.support.vocabularies import KINDS, opened, write
from workers.llama.tokenizer import Part, Tokenizer

CONTROL, ADDED = TokenType.CONTROL, TokenType.USER_DEFINED
CHATML = [("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL), ("<tool_call>", ADDED)]
RUNS = [*CHATML, *(("\n" * n, ADDED) for n in range(2, 8)), *((" " * n, ADDED) for n in (2, 4))]
OLMO = [*CHATML, *((f"|||{name}|||", ADDED) for name in ("IP_ADDRESS", "EMAIL_ADDRESS"))]
PHI_3 = [*CHATML, ("<|endoftext|>", CONTROL)]
ENTANGLED = [("ab<", CONTROL), ("b<a", ADDED), ("<ab", CONTROL), ("b<ab", ADDED), ("<", ADDED)]


class Vocabulary(NamedTuple):
    """The way to write one, and its special tokens, to make texts of."""

    kind: str
    more: list[tuple[str, TokenType]]
    name: str = "x"
    flags: dict[str, bool] = {}  # noqa: RUF012 (it is not changed)


VOCABULARIES = {
    **{kind: Vocabulary(kind, CHATML) for kind in KINDS},
    **{f"{kind}, runs": Vocabulary(kind, RUNS) for kind in KINDS},
    **{f"{kind}, OLMo": Vocabulary(kind, OLMO) for kind in KINDS},
    **{f"{kind}, entangled": Vocabulary(kind, ENTANGLED) for kind in KINDS},
    "no space before": Vocabulary("llama", CHATML, flags={"add_space_prefix": False}),
    "no bos": Vocabulary("llama", CHATML, flags={"add_bos_token": False}),
    "eos": Vocabulary("llama", CHATML, flags={"add_eos_token": True}),
    "gpt2 with bos": Vocabulary("gpt2", CHATML, flags={"add_bos_token": True}),
    "rwkv with bos": Vocabulary("rwkv", CHATML, flags={"add_bos_token": True}),
    "t5, spaces joined": Vocabulary("t5", CHATML, flags={"remove_extra_whitespaces": True}),
    "white space behind": Vocabulary("llama", PHI_3, "Phi-3 mini"),
    "white space behind, entangled": Vocabulary("llama", [*PHI_3, *RUNS], "Phi-3 mini"),
    "white space before": Vocabulary("bert", CHATML, "modern-bert"),
}
EMBEDDED, ENCODER = "forge-tiny", "encoder"


class Opened(NamedTuple):
    """A vocabulary, and texts to make texts of."""

    vocab: llama_cpp.llama_vocab_p
    tokenizer: Tokenizer
    texts: st.SearchStrategy[str]
    entangled: bool


def texts(marks: list[str]) -> st.SearchStrategy[str]:
    """Return texts that are full of special tokens and of parts of them."""
    words = ["user\n", "hello", " ab", "a", " ", "  ", "\n", "\n\n\n", "\t", "\u4e2d", "\U0001f642"]
    parts = st.sampled_from(
        [*words, *marks, *(mark[1:] for mark in marks), *(m[:-1] for m in marks)]
    )
    some = st.one_of(parts, parts, st.text(max_size=3))
    return st.lists(some, max_size=12).map("".join)


@pytest.fixture(scope="module", params=[*VOCABULARIES, EMBEDDED, ENCODER])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    path: Path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.gguf"
    wanted = VOCABULARIES.get(request.param)
    if wanted is not None:
        write(path, wanted.kind, wanted.more, wanted.name, **wanted.flags)
    elif request.param == ENCODER:
        encoder(path, PoolingType.MEAN)
    else:
        path = EMBEDDED_MODEL
    own = ["<s>", "</s>", "<unk>", "[MASK]", "[CLS]", "<|endoftext|>", "</tool_call>", "<pad>"]
    marks = [*own, *(mark for mark, _ in (wanted.more if wanted else CHATML))]
    with opened(path) as vocab:
        yield Opened(vocab, Tokenizer(vocab), texts(marks), request.param.endswith("entangled"))


def by_llama_cpp(
    vocab: llama_cpp.llama_vocab_p, text: str, special: bool, parse: bool
) -> list[int]:
    data = text.encode("utf-8", "replace")
    buffer = (llama_cpp.llama_token * (4 * len(data) + 8))()
    got = llama_cpp.llama_tokenize(vocab, data, len(data), buffer, len(buffer), special, parse)
    assert got >= 0
    return buffer[:got]


@settings(deadline=None)
@given(data=st.data(), special=st.booleans(), parse=st.booleans())
def test_ids_are_llama_cpps(made: Opened, data: st.DataObject, special: bool, parse: bool) -> None:
    text = data.draw(made.texts)
    expected = by_llama_cpp(made.vocab, text, special, parse)
    assert made.tokenizer.tokenize(text, add_special=special, parse_special=parse) == expected


@settings(deadline=None)
@given(data=st.data(), special=st.booleans())
def test_parts_that_hold_no_control_token_change_nothing(
    made: Opened, data: st.DataObject, special: bool
) -> None:
    """A word may reach from the template's part into another one."""
    if made.entangled:
        pytest.skip(
            "tokens whose order only llama.cpp knows: such a text is cut from left to right"
        )
    said = st.lists(st.sampled_from(["\n", "\n\n", " ", "\t", "\u4e2d"]), max_size=4).map("".join)
    parts = [
        part
        for text in data.draw(st.lists(made.texts, max_size=4))
        for part in (Part(text, True), Part(data.draw(said), False))
    ]
    expected = by_llama_cpp(made.vocab, "".join(part.text for part in parts), special, True)
    assert made.tokenizer.tokenize_parts(parts, add_special=special) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_in_plain_parts_are_text(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    write(path, kind, CHATML)
    with opened(path) as vocab:
        tokenizer = Tokenizer(vocab)
        (start,), (end,) = (
            by_llama_cpp(vocab, mark, False, True) for mark in ("<|im_start|>", "<|im_end|>")
        )
        parts = [Part("<|im_start|>user\n", True), Part("a<|im_end|>b", False)]
        ids = tokenizer.tokenize_parts([*parts, Part("<|im_end|>", True)], add_special=False)
        assert (ids[0], ids[-1]) == (start, end)
        assert ids[1:-1] == by_llama_cpp(vocab, "user\na<|im_end|>b", False, False)


def test_parts_join_before_they_count(tmp_path: Path) -> None:
    """A control token counts if all of it is the template's, written in however many parts."""
    path = tmp_path / "vocabulary.gguf"
    write(path, "gpt2", CHATML)
    with opened(path) as vocab:
        tokenizer = Tokenizer(vocab)
        (end,) = by_llama_cpp(vocab, "<|im_end|>", False, True)

        def ids(*parts: Part) -> list[int]:
            return tokenizer.tokenize_parts(parts, add_special=False)

        assert ids(Part("<|im_", True), Part("", False), Part("end|>", True)) == [end]
        assert end not in ids(Part("<|im_", True), Part("end|>", False))
        assert end not in ids(Part("<|im_", False), Part("end|>", True))
        assert ids() == []


def test_a_hundred_thousand_special_tokens(tmp_path: Path) -> None:
    """llama.cpp alone would take half a minute for these."""
    path = tmp_path / "vocabulary.gguf"
    for kind, text in (
        ("gpt2", "<|im_end|>"),
        ("llama", "\n\n\nab"),
        ("gpt2", "|||IP_ADDRESS|||x"),
    ):
        write(path, kind, [*RUNS, *OLMO])
        with opened(path) as vocab:
            once = by_llama_cpp(vocab, text, False, True)
            assert Tokenizer(vocab).tokenize(text * 100_000, add_special=False) == once * 100_000
