"""The types that a model can be written as, by llama.cpp's names for them. Pure."""

from typing import NamedTuple

from gateway.model_files.ggml import FILE_TYPES, TYPES


class Target(NamedTuple):
    """``number``: llama.cpp's LLAMA_FTYPE_*; ``bits``: of most weights."""

    name: str
    number: int
    bits: float


ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
_MOSTLY = {
    "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K", "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K",
    "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K", "Q2_K_S": "Q2_K", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S",
}  # fmt: skip
"""The type of most of a mixture's matrices, where its name does not say."""
NEEDS_MATRIX = (
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S",
)  # fmt: skip
"""llama.cpp wants to know which weights matter (an importance matrix) before it packs like this."""
_LEFT_OUT = (*NEEDS_MATRIX, "MXFP4")
"""MXFP4 packs experts alone."""


class NoSuchType(Exception):
    """The text lists those that there are."""


def _all() -> list[Target]:
    packed = {each.name: 8 * each.size / each.values for each in TYPES.values()}
    found = [
        Target(name, number, packed[_MOSTLY.get(name, name)])
        for number, name in FILE_TYPES.items()
        if name not in _LEFT_OUT
    ]
    return sorted(found, key=lambda target: target.bits)


TARGETS = {target.name: target for target in _all()}


def parse(text: str) -> Target:
    """The type that is meant, in any case. Raises :class:`NoSuchType`."""
    name = text.upper().replace("-", "_")
    name = ALIASES.get(name, name)
    if name in TARGETS:
        return TARGETS[name]
    if name in NEEDS_MATRIX:
        raise NoSuchType(
            f"TYPE: {name} needs an importance matrix, which forge quantize does not make; the "
            f"smallest that need none are {', '.join(list(TARGETS)[:4])}"
        )
    listed = ", ".join(f"{each.name} ({each.bits:g})" for each in TARGETS.values())
    raise NoSuchType(f"TYPE: there is no {text!r}; there are, with bits a weight: {listed}")
