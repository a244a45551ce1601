"""Thoughts that a client carries for a server that stores none. Pure.

The dialect calls it encrypted content. A model whose thoughts are open has nothing to hide from the
client that it answers, so it is base64 with a mark, and no secret has to be kept.
"""

import binascii

MARK = "forge-1."
"""Before the thoughts of this server; others' seals are not read."""


def sealed(text: str) -> str:
    """Return a thought as ``encrypted_content``."""
    return MARK + binascii.b2a_base64(text.encode("utf-8", "replace"), newline=False).decode()


def opened(content: str) -> str:
    """Return the thought in an ``encrypted_content``; "" if it is another server's."""
    if not content.startswith(MARK):
        return ""
    try:
        return binascii.a2b_base64(content[len(MARK) :], strict_mode=True).decode()
    except ValueError:  # binascii.Error, bytes that are no UTF-8, characters that are no ASCII
        return ""
