"""llama-server's options about sampling: the defaults of requests that say nothing. Pure.

Names and meanings are those of llama.cpp's common/arg.cpp. Each becomes a field of Forge's own
``--sampling``; its bounds are checked there, as those of a request are.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.config.numbers import number, whole

RANDOM = 2**32 - 1
"""llama-server's word for a seed that is drawn."""
MOST_BIAS = 100.0
STAGES = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
    "infill",
)  # fmt: skip
NAMES = {
    **{written: name for name in STAGES for written in (name, name.replace("_", "-"))},
    **{name.replace("_", ""): name for name in STAGES},
    "nucleus": "top_p",
    "temp": "temperature",
    "typ": "typ_p",
}
"""Samplers as llama.cpp lets them be written."""
LETTERS = {
    "e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p",
    "m": "min_p", "x": "xtc", "t": "temperature", "i": "infill",
}  # fmt: skip
ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}


class Default(NamedTuple):
    """The field that an option sets."""

    field: str
    read: Callable[[str], Any]
    """Its value. Raises ValueError, which tells what is expected."""
    adds: bool = False
    """True: the option may be said several times, and each adds to a list."""


def with_option(defaults: dict[str, Any], default: Default, text: str) -> dict[str, Any]:
    """Return ``defaults`` with what one option says. Raises ValueError."""
    value = default.read(text)
    if default.adds:
        before = defaults.get(default.field, [])
        # An empty list of them clears those before, as `none` does.
        value = [*before, *value] if value else []
    return {**defaults, default.field: value}


def _temperature(text: str) -> float:
    return max(0.0, number(text))


def _share(text: str) -> float:
    """A probability; above 1 it switches its sampler off, as 1 does."""
    return min(1.0, number(text))


def _deviations(text: str) -> float:
    return max(-1.0, number(text))


def _count(text: str) -> int:
    return max(0, whole(text))


def _seed(text: str) -> int:
    seed = whole(text)
    return -1 if seed == RANDOM else seed


def _limit(text: str) -> int:
    limit = whole(text)
    if limit < -1:
        raise ValueError("expected a number of tokens, or -1")
    return limit


def _samplers(text: str) -> list[str]:
    found = [NAMES.get(name.lower()) for name in text.split(";")]
    if text and None in found:
        raise ValueError(f"expected names of samplers, separated by semicolons: {';'.join(STAGES)}")
    return [name for name in found if name is not None]


def _letters(text: str) -> list[str]:
    if not LETTERS.keys() >= set(text):
        raise ValueError(f"expected letters of samplers: {''.join(LETTERS)}")
    return [LETTERS[letter] for letter in text]


def _breaker(text: str) -> list[str]:
    """A text with the escapes that llama.cpp knows; ``none`` is none."""
    if text == "none":
        return []
    return [re.sub(r"\\x([0-9a-fA-F]{2})|\\([nrt'\"\\])", _unescaped, text)]


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else ESCAPED[found[2]]


def _bias(text: str) -> list[list[Any]]:
    """One token's, ``15043+1`` or ``15043-inf``."""
    parts = re.fullmatch(r"\s*([0-9]{1,10})\s*([+-])(.{1,40})", text)
    try:
        size = math.nan if parts is None else float(parts[3])
    except ValueError:
        size = math.nan
    if parts is None or math.isnan(size):
        raise ValueError("expected a token's id and a bias, such as 15043+1")
    bias = max(-MOST_BIAS, min(MOST_BIAS, -size if parts[2] == "-" else size))
    return [[int(parts[1]), bias]]


LIMIT = Default("max_tokens", _limit)
SAMPLING = {
    ("-s", "--seed"): Default("seed", _seed),
    ("--temp", "--temperature"): Default("temperature", _temperature),
    ("--top-k",): Default("top_k", _count),
    ("--top-p",): Default("top_p", _share),
    ("--min-p",): Default("min_p", _share),
    ("--top-nsigma", "--top-n-sigma"): Default("top_n_sigma", _deviations),
    ("--typical", "--typical-p"): Default("typical_p", _share),
    ("--repeat-penalty",): Default("repeat_penalty", number),
    ("--repeat-last-n",): Default("repeat_last_n", whole),
    ("--presence-penalty",): Default("presence_penalty", number),
    ("--frequency-penalty",): Default("frequency_penalty", number),
    ("--xtc-probability",): Default("xtc_probability", number),
    ("--xtc-threshold",): Default("xtc_threshold", _share),
    ("--dry-multiplier",): Default("dry_multiplier", number),
    ("--dry-base",): Default("dry_base", number),
    ("--dry-allowed-length",): Default("dry_allowed_length", whole),
    ("--dry-penalty-last-n",): Default("dry_penalty_last_n", whole),
    ("--dry-sequence-breaker",): Default("dry_sequence_breakers", _breaker, adds=True),
    ("--dynatemp-range",): Default("dynatemp_range", number),
    ("--dynatemp-exp",): Default("dynatemp_exponent", number),
    ("--samplers",): Default("samplers", _samplers),
    ("--sampler-seq", "--sampling-seq"): Default("samplers", _letters),
    ("-l", "--logit-bias"): Default("logit_bias", _bias, adds=True),
}
"""The options by their flags; ``-n`` and ``--ignore-eos`` stand apart."""
