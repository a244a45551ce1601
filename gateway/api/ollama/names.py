"""Models' names as Ollama's clients write them, and as Forge has them.

A name there is ``[HOST/[NAMESPACE/]]MODEL[:TAG]``, without regard to case. The tag of a name
without one is ``latest``, and models of the Hugging Face hub are ``hf.co/ORG/REPO[:QUANT]``:

    forge-tiny                          the model forge-tiny
    forge-tiny:latest                   the same
    hf.co/ORG/REPO:q4_k_m               hf:ORG/REPO:Q4_K_M
    registry.ollama.ai/library/chat     chat

Exact names come before those that differ in their tag, and these before those that differ in case.
Two models whose names differ in case alone are told apart by it. Patterns come last, as elsewhere.
Pure but for the registry, which is asked.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

LATEST = "latest"
MAX_NAME = 1024
"""Characters of a name that is looked for in other spellings: a body has room for long ones."""
HUB = "hf.co"
HUB_HOSTS = (HUB, "huggingface.co", "hf.com")
OWN_HOST = "registry.ollama.ai"
LIBRARY = "library"
"""The host and the namespace that a name without them has in Ollama."""

_TAG = re.compile(r":[\w.-]{1,128}\Z")
"""The end of a name that may be a tag: no slash is in one."""


class NamedModels(Protocol):
    """The models of a server, as this module asks for them: the registry."""

    @property
    def names(self) -> Iterable[str]:
        """The models' own names."""
        ...

    def plain_aliases(self, name: str) -> Iterable[str]:
        """Return a model's other names that are no patterns."""
        ...

    def get(self, name: object) -> object | None:
        """Return the model of a name, alias or pattern; None if there is none."""
        ...


def shown(name: str) -> str:
    """Return a model's name as Ollama's clients are told it: always with a tag."""
    if name.startswith("hf:"):
        name = f"{HUB}/{name.removeprefix('hf:')}"
    return name if _TAG.search(name) else f"{name}:{LATEST}"


def own_name(asked: str, models: NamedModels) -> str:
    """Return the name by which the registry knows the model that is asked for.

    That is ``asked`` itself where no model is meant: the error then repeats what the client wrote.
    """
    if len(asked) > MAX_NAME:
        return asked
    likely = list(dict.fromkeys(spellings(asked)))
    known = [each for name in models.names for each in (name, *models.plain_aliases(name))]
    for spelling in likely:
        if spelling in known:
            return spelling
    for spelling in likely:
        alike = [each for each in known if each.casefold() == spelling.casefold()]
        if len(alike) == 1:
            return alike[0]
    return next((each for each in likely if models.get(each) is not None), asked)


def plain(asked: str) -> str:
    """Return a name without the tag that it has anyway."""
    tag = f":{LATEST}"
    return asked[: -len(tag)] if asked[-len(tag) :].lower() == tag else asked


def source(asked: str) -> str:
    """Return what ``forge pull`` would be told to get the model: for names of the hub ``hf:...``.

    Other names stay as they are.
    """
    return next((each for each in spellings(asked) if each.startswith("hf:")), asked)


def spellings(asked: str) -> Iterator[str]:
    """Yield the names that Forge may have for what Ollama calls ``asked``, the likeliest first."""
    yield asked
    short = plain(asked)
    yield short
    host, _, rest = re.sub(r"\Ahttps?://", "", short).partition("/")
    if host.lower() in HUB_HOSTS:
        yield f"hf:{_quantised(rest)}"
        yield f"hf:{rest}"
    if host.lower() == OWN_HOST:
        short = rest
    yield short.removeprefix(f"{LIBRARY}/")
    yield f"{short}:{LATEST}"


def _quantised(rest: str) -> str:
    """Return ``ORG/REPO:QUANT`` with the quantisation in capitals; names of files stay."""
    repository, colon, tag = rest.partition(":")
    return rest if tag.lower().endswith(".gguf") else f"{repository}{colon}{tag.upper()}"
