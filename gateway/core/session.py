"""The conversation that a request belongs to, as far as its client says so. Pure.

Agents name their sessions in headers, and OpenAI's dialects have `prompt_cache_key`. The name is no
more than a hint for the placement, and it is bound to the scope within which prompts are shared: no
other key's request can have the same, whatever it sends.
"""

from collections.abc import Mapping
from hashlib import blake2b

HEADERS = (
    "x-claude-code-session-id",
    "thread-id",
    "thread_id",
    "session-id",
    "session_id",
    "conversation-id",
    "conversation_id",
    "x-session-id",
)
"""Names of a conversation, the closest first: those of Claude Code, of Codex (whose helpers have a
thread each in one session), and one that several proxies have."""
AGENT = "x-claude-code-agent-id"
"""A helper in a session: its conversation is another one than its parent's."""


def session_of(headers: Mapping[str, str], cache_key: str | None, scope: str) -> str:
    """Return the name of a request's conversation; "" if the client names none.

    ``cache_key``: the body's `prompt_cache_key`, which may be that of a whole application and so
    counts only where no header says more. ``scope``: see :mod:`gateway.core.cache_scope`.
    """
    named = next((headers[name] for name in HEADERS if headers.get(name)), cache_key)
    if not named:
        return ""
    hash_ = blake2b(digest_size=16, person=b"forge session")
    for part in (scope, named, headers.get(AGENT, "")):
        data = part.encode("utf-8", "surrogatepass")
        hash_.update(len(data).to_bytes(8) + data)
    return hash_.hexdigest()
