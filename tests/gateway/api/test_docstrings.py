"""Docstrings of fields, found in the source of real classes."""

import sys
from types import ModuleType

from typing_extensions import TypedDict

from gateway.api.docstrings import descriptions
from gateway.api.nested import Nested


class Base(TypedDict):
    inherited: int
    """From
    the base."""
    silent: int


class Typed(Base):
    own: str
    """Of its own."""
    last: str


class Model(Nested):
    """Not of a field."""

    first: int = 1
    """The first."""

    second: int = 2

    def method(self) -> None:
        """Not of a field either."""


def test_typed_dicts_with_their_bases() -> None:
    assert descriptions(Typed) == {"inherited": "From\nthe base.", "own": "Of its own."}


def test_models() -> None:
    assert descriptions(Model) == {"first": "The first."}


def test_without_a_source_there_are_none() -> None:
    name = "made_of_nothing"
    sys.modules[name] = ModuleType(name)
    try:
        assert descriptions(type("Made", (), {"__module__": name})) == {}
    finally:
        del sys.modules[name]
