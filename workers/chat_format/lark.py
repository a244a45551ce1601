"""Pieces of grammars in llguidance's dialect of Lark. Pure."""

import json
import re
from collections.abc import Callable, Sequence

FREE = "/(?s:.*)/"
"""Any text; a control token is no text."""


def quoted(text: str) -> str:
    """A text as the grammar writes it. The text is not empty."""
    return json.dumps(text, ensure_ascii=False)


def is_token(term: str) -> bool:
    """Return whether this is how a grammar writes a control token."""
    return term.startswith("<")


def literal(text: str, controls: Sequence[str], special: Callable[[str], str]) -> str:
    """A text in which some parts may be control tokens of the vocabulary, as a sequence of terms.

    ``special`` gives how the grammar writes a control token, or the quoted text if the vocabulary
    has none of this text.
    """
    if not controls:
        return quoted(text) if text else ""
    terms, plain = [], ""
    for part in re.split("(" + "|".join(map(re.escape, controls)) + ")", text):
        if part in controls and is_token(term := special(part)):
            terms += [quoted(plain), term] if plain else [term]
            plain = ""
        else:
            plain += part
    return " ".join([*terms, quoted(plain)] if plain else terms)


def until(rule: str, mark: str, special: Callable[[str], str]) -> str:
    """A rule for any text up to the first ``mark`` and with it."""
    term = special(mark)
    if is_token(term):  # the text can't hold it, so it need not be lazy
        return f"{rule}: {FREE} {term}\n"
    return f"{rule}[lazy]: {FREE} {quoted(mark)}\n"
