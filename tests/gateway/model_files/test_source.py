"""The file that a name means."""

import pytest

from gateway.model_files.source import (
    NEAREST,
    BadSource,
    Hub,
    Url,
    choose,
    parse,
    pinned,
    projector_of,
    quantisation,
    shown,
    variants,
)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf:org/repo", Hub("org/repo", None)),
        ("hf:Org-1/repo.v2_x-GGUF:Q8_0", Hub("Org-1/repo.v2_x-GGUF", "Q8_0")),
        ("hf:org/repo:sub/model.gguf", Hub("org/repo", "sub/model.gguf")),
        (f"hf:org/repo@{'0a' * 20}:m.gguf", Hub("org/repo", "m.gguf", commit="0a" * 20)),
        ("https://host/a/b.gguf?x=1", Url("https://host/a/b.gguf?x=1")),
        ("http://127.0.0.1:80/b.gguf", Url("http://127.0.0.1:80/b.gguf")),
        ("models/some.gguf", None),
        ("C:some.gguf", None),
    ],
)
def test_names(text: str, source: object) -> None:
    assert parse(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "hf:", "hf:repo", "hf:a/b/c", "hf:a b/c", "http://host/m.gguf", "https://", "https:///m.gguf",
        "https://[::1/m.gguf", "https://[abc]/m.gguf", "https://host:port/m.gguf",
        "https://host:99999/m.gguf", "hf:org/repo@main", "hf:org/repo@", "hf:org/repo@../..:m.gguf",
    ],
)  # fmt: skip
def test_names_that_can_not_be_meant(text: str) -> None:
    with pytest.raises(BadSource):
        parse(text)


@pytest.mark.parametrize(
    ("text", "file", "source"),
    [
        ("hf:org/tiny:Q8_0", "{cache}/sub/tiny.gguf", f"hf:org/tiny@{'0a' * 20}:sub/tiny.gguf"),
        ("hf:org/tiny+mmproj", "{cache}/tiny.gguf", f"hf:org/tiny@{'0a' * 20}:tiny.gguf"),
        ("hf:org/tiny", "/elsewhere/tiny.gguf", None),
        ("https://host/m.gguf?x=1", "/cache/forge/models/m.gguf", "https://host/m.gguf?x=1"),
        ("/models/m.gguf", "/models/m.gguf", None),
        ("", "/models/m.gguf", None),
    ],
)
def test_the_source_of_the_very_file(text: str, file: str, source: str | None) -> None:
    """The newest version of a repository may be another by the time another machine asks."""
    cache = f"/home/a/.cache/huggingface/hub/models--org--tiny/snapshots/{'0a' * 20}"
    assert pinned(text, file.format(cache=cache)) == source


def test_secrets_are_not_shown() -> None:
    url = "https://user:pass@host/m.gguf?X-Signature=abc#f"
    assert shown(url) == "https://host/m.gguf"
    with pytest.raises(BadSource) as error:
        parse(url.replace("https", "http"))
    assert "pass" not in str(error.value)
    assert "abc" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("model.q8_0.gguf", "Q8_0"),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("gemma-3-4b-it-IQ2_XXS.gguf", "IQ2_XXS"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("m-bf16.gguf", "BF16"),
        ("m-fp16.gguf", "FP16"),
        ("Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M"),
        ("qwen3-8b.gguf", None),
        ("F16-base/m-Q6_K.gguf", "Q6_K"),
    ],
)
def test_quantisations_of_names(name: str, quant: str | None) -> None:
    assert quantisation(name) == quant


REPOSITORY = {
    "README.md": 5,
    "mmproj-F16.gguf": 7,
    "m-Q8_0.gguf": 80,
    "m-Q4_K_S.gguf": 39,
    "m-Q4_K_M.gguf": 40,
    "BF16/m-BF16-00001-of-00002.gguf": 100,
    "BF16/m-BF16-00002-of-00002.gguf": 60,
    "m-Q2_K-00001-of-00002.gguf": 20,
}


def test_variants_are_whole_and_models() -> None:
    found = {one.quant: one for one in variants(REPOSITORY)}
    assert set(found) == {"Q8_0", "Q4_K_S", "Q4_K_M", "BF16"}
    assert found["BF16"].size == 160
    assert [name[-19:] for name in found["BF16"].files] == [
        "-00001-of-00002.gguf"[-19:],
        "-00002-of-00002.gguf"[-19:],
    ]


def test_what_is_named_is_taken() -> None:
    assert choose(REPOSITORY, Hub("o/r", "q8_0")).files == ("m-Q8_0.gguf",)
    assert choose(REPOSITORY, Hub("o/r", "bf16")).size == 160
    assert choose(REPOSITORY, Hub("o/r", "m-Q4_K_S.gguf")).quant == "Q4_K_S"
    assert choose(REPOSITORY, Hub("o/r", "m-BF16-00001-of-00002.gguf")).size == 160


def test_projectors() -> None:
    assert parse("hf:o/r:Q8_0+mmproj") == Hub("o/r", "Q8_0", True)
    assert parse("hf:o/r+mmproj") == Hub("o/r", None, True)
    assert choose(REPOSITORY, Hub("o/r", "mmproj-F16.gguf")).files == ("mmproj-F16.gguf",)
    assert choose({"mmproj-F16.gguf": 7}, Hub("o/r", "mmproj-F16.gguf")).size == 7
    assert projector_of(REPOSITORY, "m-Q8_0.gguf") == "mmproj-F16.gguf"
    assert projector_of(REPOSITORY, "BF16/m-BF16-00001-of-00002.gguf") == "mmproj-F16.gguf"
    assert projector_of({"a/m.gguf": 1, "a/mmproj.gguf": 1}, "a/m.gguf") == "a/mmproj.gguf"
    assert projector_of({"m.gguf": 1, "a/mmproj.gguf": 1}, "m.gguf") is None


def test_the_default_is_the_nearest_there_is() -> None:
    left = dict(REPOSITORY)
    for quant in ("Q4_K_M", "Q4_K_S", "Q8_0", "BF16"):
        chosen = choose(left, Hub("o/r", None))
        assert chosen.quant == quant
        for name in chosen.files:
            del left[name]
    with pytest.raises(BadSource, match="no GGUF"):
        choose(left, Hub("o/r", None))


def test_every_name_in_the_order_is_one_that_is_recognised() -> None:
    assert [quantisation(f"m-{name}.gguf") for name in NEAREST] == list(NEAREST)
    assert len(set(NEAREST)) == len(NEAREST)


def test_what_is_not_there_is_answered_with_what_is() -> None:
    with pytest.raises(BadSource, match=r"has no Q5_K_M; it has Q4_K_S .*Q4_K_M .*Q8_0 .*BF16"):
        choose(REPOSITORY, Hub("o/r", "Q5_K_M"))


def test_one_of_several_must_be_named() -> None:
    with pytest.raises(BadSource, match=r"several: a-Q4_0\.gguf, b-Q4_0\.gguf; name one"):
        choose({"a-Q4_0.gguf": 1, "b-Q4_0.gguf": 1}, Hub("o/r", None))
    assert choose({"only.gguf": 1}, Hub("o/r", None)).files == ("only.gguf",)
