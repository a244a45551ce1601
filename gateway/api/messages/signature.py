"""The signature of a thought, which clients send back with it. Pure.

It proves nothing and is never verified: a thought that another server signed, or none, is read as
well. A thought that the client did not want to see is carried in it, so that the model has it again
in the next turn.
"""

import base64
import binascii
from hashlib import blake2b

CARRIED = b"forge thought\0"
"""Stands before a thought in its signature."""


def signed(thought: str, *, hidden: bool) -> str:
    """Return a thought's signature; ``hidden``: the client gets no other text of it."""
    data = thought.encode("utf-8", "replace")
    if hidden:
        return base64.b64encode(CARRIED + data).decode()
    return base64.b64encode(
        blake2b(data, digest_size=24, person=b"forge thought").digest()
    ).decode()


def carried(signature: object) -> str:
    """Return the thought in a signature; "" if there is none."""
    if not isinstance(signature, str):
        return ""
    try:
        data = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return data.removeprefix(CARRIED).decode("utf-8", "replace") if data.startswith(CARRIED) else ""
