"""Token ids in requests: what a body may hold, and what a model knows."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from gateway.core.errors import BadRequest

MAX_ID = 2**31 - 1
"""The largest that llama.cpp has room for; a model's own limit is known once it is loaded."""

TokenId = Annotated[int, Field(ge=0, le=MAX_ID)]


def check(ids: Sequence[int], n_vocab: int, param: str) -> None:
    """Raise a BadRequest about ``param`` unless a vocabulary of ``n_vocab`` tokens has all ids.

    The worker checks again: for a model that is not loaded yet, only it can.
    """
    if max(ids, default=0) >= n_vocab:
        wrong = next(id_ for id_ in ids if id_ >= n_vocab)
        message = f"'{param}': token ids of this model are 0 to {n_vocab - 1}, not {wrong}"
        raise BadRequest(message, param=param)
