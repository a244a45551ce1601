"""Names as Ollama's clients write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.ollama import names
from gateway.served.aliases import Aliases


class Models:
    """Stands for the registry, by its own rules for aliases."""

    def __init__(self, **aliases: list[str]) -> None:
        self.names = [name.replace("__", ":").replace("_I_", "/") for name in aliases]
        self._aliases = Aliases(dict(zip(self.names, aliases.values(), strict=True)))

    def plain_aliases(self, name: str) -> list[str]:
        return self._aliases.plain(name)

    def get(self, name: object) -> str | None:
        text = str(name)
        return text if text in self.names else self._aliases.find(text)


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        ("forge-tiny", "forge-tiny:latest"),
        ("qwen:7b", "qwen:7b"),
        ("hf:org/tiny:Q4_K_M", "hf.co/org/tiny:Q4_K_M"),
        ("hf:org/tiny:dir/tiny.gguf", "hf.co/org/tiny:dir/tiny.gguf:latest"),
        ("/a/b.gguf", "/a/b.gguf:latest"),
        ("a:", "a::latest"),
    ],
)
def test_every_name_is_shown_with_a_tag(own: str, shown: str) -> None:
    assert names.shown(own) == shown


@pytest.mark.parametrize(
    "asked",
    [
        "forge-tiny",
        "forge-tiny:latest",
        "Forge-Tiny:latest",
        "FORGE-TINY:LATEST",
        "registry.ollama.ai/library/forge-tiny",
        "library/forge-tiny:latest",
    ],
)
def test_spellings_of_one_model(asked: str) -> None:
    assert names.own_name(asked, Models(**{"forge-tiny": []})) == "forge-tiny"


@pytest.mark.parametrize(
    "asked",
    [
        "hf:Org/tiny:Q4_K_M",
        "hf.co/Org/tiny:Q4_K_M",
        "hf.co/Org/tiny:q4_k_m",
        "hf.co/org/TINY:q4_k_m",
        "huggingface.co/Org/tiny:Q4_K_M",
        "https://hf.co/Org/tiny:Q4_K_M",
    ],
)
def test_spellings_of_a_model_of_the_hub(asked: str) -> None:
    assert names.own_name(asked, Models(hf__Org_I_tiny__Q4_K_M=[])) == "hf:Org/tiny:Q4_K_M"


def test_exact_names_come_first() -> None:
    models = Models(Chat=[], chat=[], chat__latest=[], other=["mine"])
    assert names.own_name("chat", models) == "chat"
    assert names.own_name("Chat", models) == "Chat"
    assert names.own_name("chat:latest", models) == "chat:latest"
    assert names.own_name("Chat:latest", models) == "Chat"
    twins = Models(Chat=[], chat=[])
    assert names.own_name("CHAT", twins) == "CHAT", "either may be meant"
    assert names.own_name("Mine:latest", models) == "mine"


def test_a_pattern_gives_way_to_a_model_of_that_name() -> None:
    models = Models(first=["*"], second=[])
    assert names.own_name("second:latest", models) == "second"
    assert models.get(names.own_name("claude:latest", models)) == "first"


def test_unknown_names_stay_as_they_were_written() -> None:
    for asked in ("llama3.2", "llama3.2:latest", "", ":", "hf.co/", "x" * 5000):
        assert names.own_name(asked, Models(one=[])) == asked


def test_what_is_pulled() -> None:
    assert names.source("hf.co/Org/tiny:q8_0") == "hf:Org/tiny:Q8_0"
    assert names.source("hf.co/Org/tiny") == "hf:Org/tiny"
    assert names.source("hf.co/Org/tiny:latest") == "hf:Org/tiny"
    assert names.source("hf:Org/tiny") == "hf:Org/tiny"
    assert names.source("llama3.2") == "llama3.2"


@given(st.text(alphabet="aA:/.-_hf", max_size=12))
def test_each_model_is_found_by_the_name_that_is_shown(own: str) -> None:
    """Whatever it is called, also beside another."""
    models = Models(**{"other": [], own: []})
    (name,) = models.names[-1:]
    assert names.own_name(names.shown(name), models) == name
