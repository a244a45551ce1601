"""The list of models that forge pull offers: its form, and what is offered on which machine."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.config.pool_shape import PoolShape
from gateway.core.byte_sizes import GIB, MIB
from gateway.model_files import gguf, memory_check, source
from gateway.model_files.memory_probe import MemoryProbe
from gateway.model_files.shape import HeaderValues, shape
from gateway.model_files.suggestions import (
    LEAST_CTX,
    SUGGESTIONS,
    Suggestion,
    need,
    offers,
)


def test_the_form_of_the_list() -> None:
    assert 5 <= len(SUGGESTIONS) <= 10
    assert len({each.source for each in SUGGESTIONS}) == len(SUGGESTIONS)
    assert [each.size for each in SUGGESTIONS] == sorted(each.size for each in SUGGESTIONS)


@pytest.mark.parametrize("model", SUGGESTIONS, ids=lambda model: model.source)
def test_the_form_of_an_entry(model: Suggestion) -> None:
    parsed = source.parse(model.source)
    assert isinstance(parsed, source.Hub)
    assert parsed.wanted is None  # the rule for quantisations chooses
    assert parsed.repository.endswith("-GGUF")
    assert re.fullmatch(r"Apache 2\.0|MIT|Llama 3\.[12]", model.licence)
    assert 10 < len(model.about) < 60
    # Four bits of each weight at least, and not more than the name's billions allow.
    billions = float(re.findall(r"(\d+(?:\.\d+)?)[BM]", model.source)[0])
    billions /= 1000 if "360M" in model.source else 1
    assert 0.45 < model.size / (billions * 1e9) < 1.1
    assert model.kv_width % 64 == 0
    assert model.kv_width <= model.width
    assert model.context >= 8192


@given(cores=st.integers(1, 256), free=st.integers(0, 1 << 42))
def test_offers_fit_and_more_memory_offers_no_less(cores: int, free: int) -> None:
    found, more = offers(cores, free), offers(cores, 2 * free)
    for each in found:
        assert each.need <= free
        assert each.ctx is None or each.ctx >= LEAST_CTX
    names = {each.suggestion.source for each in more}
    assert {each.suggestion.source for each in found} <= names


def test_usual_machines_have_a_choice() -> None:
    """From a small board on; a large one has all of them as they are."""
    assert len(offers(4, 2 * GIB)) >= 3
    assert len(offers(4, 8 * GIB)) >= 5
    assert [each.ctx for each in offers(8, 128 * GIB)] == [None] * len(SUGGESTIONS)
    assert offers(2, 100 * MIB) == []


def test_the_options_are_those_of_serve() -> None:
    small = offers(2, 2 * GIB)
    assert any(each.ctx is not None for each in small)
    for each in small:
        options = each.options().split()
        assert options[:2] == ["--model", each.suggestion.source]
        assert options[2:] == ([] if each.ctx is None else ["--ctx", str(each.ctx)])


@pytest.mark.parametrize("ctx", [4096, 65536])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_estimate_is_near_to_the_one_of_the_file(ctx: int, workers: int) -> None:
    """With the embedded model, of which llama.cpp's own figures are known."""
    config = Config(ctx=ctx, workers=workers, slots=8, spare=True)
    file = gguf.read(EMBEDDED_MODEL)
    said, sizes = HeaderValues(file.metadata), shape(file)
    heads = said.number("attention.head_count")
    kv_width = said.number("attention.head_count_kv", heads) * (sizes.width // heads)
    model = Suggestion(
        "hf:a/b-GGUF", "", "MIT", file.size, sizes.layers, sizes.width, kv_width,
        sizes.vocabulary, sizes.context,
    )  # fmt: skip
    with MemoryProbe() as probe:
        exact = memory_check.wanted_by(config, file, probe).need().total
    about = need(model, PoolShape(workers, 8, 1), ctx)
    assert abs(about - exact) < 0.15 * exact + 32 * MIB
