"""Names of types."""

import pytest

from gateway.cli.quantize.types import ALIASES, NEEDS_MATRIX, TARGETS, NoSuchType, parse
from gateway.model_files.ggml import FILE_TYPES


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("Q4_K_M", "Q4_K_M", 15),
        ("q8_0", "Q8_0", 7),
        ("q4-k-m", "Q4_K_M", 15),
        ("Q5_K", "Q5_K_M", 17),
    ],
)
def test_names_are_found_in_any_case(text: str, name: str, number: int) -> None:
    found = parse(text)
    assert (found.name, found.number) == (name, number)


def test_bits_are_those_of_most_weights() -> None:
    assert TARGETS["Q8_0"].bits == 8.5
    assert TARGETS["Q4_K_M"].bits == 4.5
    assert TARGETS["F16"].bits == 16
    assert [each.bits for each in TARGETS.values()] == sorted(
        each.bits for each in TARGETS.values()
    )
    assert set(ALIASES.values()) <= set(TARGETS) <= set(FILE_TYPES.values())


def test_an_unknown_one_lists_those_there_are() -> None:
    with pytest.raises(NoSuchType, match=r"no 'Q9'; there are.*Q4_K_M \(4.5\).*Q8_0 \(8.5\)"):
        parse("Q9")


@pytest.mark.parametrize("name", NEEDS_MATRIX)
def test_those_that_need_to_know_which_weights_matter_say_so(name: str) -> None:
    with pytest.raises(NoSuchType, match="importance matrix"):
        parse(name)
