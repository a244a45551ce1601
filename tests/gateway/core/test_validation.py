"""One explanation for whatever pydantic says about a value."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gateway.core.validation import ValidationProblem, explain, shown


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["leaf"]
    size: int = Field(ge=0)


class Twig(BaseModel):
    kind: Literal["twig"]


class Tree(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    width: Literal["auto"] | Annotated[int, Field(ge=1)] = 1
    leaves: list[Leaf] = []
    bark: str | list[Leaf] = ""
    part: Annotated[Leaf | Twig, Field(discriminator="kind")] | None = None

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name:
            raise ValueError("A tree needs a name")
        return name


def problem(**fields: Any) -> ValidationProblem:
    with pytest.raises(ValidationError) as caught:
        Tree(**fields)
    return explain(caught.value, fields)


@pytest.mark.parametrize(
    ("fields", "path", "kind"),
    [
        ({"name": "a", "x": 1}, ("x",), "unknown"),
        ({}, ("name",), "missing"),
        ({"name": "a", "leaves": [{"kind": "leaf"}]}, ("leaves", "0", "size"), "missing"),
        ({"name": "a", "part": {}}, ("part", "kind"), "missing"),
        ({"name": "a", "part": {"kind": "root"}}, ("part", "kind"), "wrong"),
        ({"name": "a", "leaves": "ab"}, ("leaves",), "wrong"),
    ],
)
def test_where_and_how(fields: dict[str, Any], path: tuple[str, ...], kind: str) -> None:
    found = problem(**fields)
    assert (found.path, found.kind) == (path, kind)


def test_a_key_of_thousands_of_digits_is_no_index() -> None:
    class Wood(BaseModel):
        trees: dict[str, int]

    with pytest.raises(ValidationError) as caught:
        Wood(trees={"9" * 5000: "x"})
    found = explain(caught.value, {"trees": {"9" * 5000: "x"}})
    assert found.path == ("trees", "9" * 5000)


def test_a_value_in_an_error_is_short() -> None:
    assert shown("9" * 5000) == f"'{'9' * 59}..."
    assert shown([1]) == "[1]"


def test_branches_of_a_union_become_one_sentence() -> None:
    found = problem(name="a", width=None)
    assert found.path == ("width",)
    assert found.message == "Input should be 'auto' or a valid integer"
    assert problem(name="a", width=0).message == "Input should be greater than or equal to 1"


def test_the_sentence_is_about_the_path() -> None:
    """A branch's other fields are as deep as its kind; they are not what is wrong."""
    found = problem(name="a", leaves=[{"kind": "thorn", "colour": 1}])
    assert (found.path, found.kind) == (("leaves", "0", "kind"), "wrong")
    assert found.message == "Input should be 'leaf'"
    found = problem(name="a", bark=[{"kind": "thorn", "colour": 1}])
    assert (found.path, found.kind) == (("bark", "0", "kind"), "wrong")


def test_a_validators_own_words_stay() -> None:
    found = problem(name="")
    assert found.message == "A tree needs a name"
    assert found.reason == "a tree needs a name"


def test_the_value_is_there_but_not_in_the_text() -> None:
    found = problem(name="a", leaves=[{"kind": "leaf", "size": "a secret"}])
    assert found.value == "a secret"
    assert "secret" not in repr(found)
