"""Tokens with their probabilities, as OpenAI shows them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.api.kept_probabilities import written

if TYPE_CHECKING:
    from gateway.api.openai.types import TokenAlternative, TokenLogprob
    from workers.protocol import Logprob, TokenChance

FLOOR = -9999.0
"""OpenAI's log probability for what is all but impossible."""


def token_logprob(found: Logprob) -> TokenLogprob:
    return {**alternative(found.chosen), "top_logprobs": [alternative(top) for top in found.top]}


def token_json(found: Logprob) -> orjson.Fragment:
    """Return the same as JSON, for an answer that keeps it until its end."""
    return written(token_logprob(found))


def alternative(chance: TokenChance) -> TokenAlternative:
    """A token with its probability, as OpenAI shows them."""
    return {
        "token": token_text(chance.piece),
        "logprob": max(chance.logprob, FLOOR),
        "bytes": list(chance.piece),
    }


def token_text(piece: bytes) -> str:
    """A token's text; of one that holds a part of a character, its bytes in OpenAI's notation."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
