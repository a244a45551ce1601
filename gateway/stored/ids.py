"""Ids of what is stored, and the texts that may be one."""

import re
import secrets

SHAPE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def new_id(prefix: str) -> str:
    """Return an id that nothing else has, such as ``file-0123...`` for ``file-``."""
    return prefix + secrets.token_hex(12)


def may_be_id(text: str) -> bool:
    """Tell if a client's text could be an id: others are not shown to the database at all."""
    return SHAPE.fullmatch(text) is not None
