"""--target-itl-ms: one gap for all streams, or one for each class of priorities."""

from typing import Any

from gateway.core.priority import PRIORITIES
from workers.protocol import Patience

BATCH_REST_MS = 30_000.0
"""So long batch streams sit steps out while prompts are computed: nobody watches them, and a token
of each in every step is the fastest way to serve many. Clients that give up a silent connection
wait longer."""


def classes(value: Any) -> Any:
    """Take ``urgent=50,batch=2000`` apart; a number, or auto, is left as it is."""
    if isinstance(value, str) and "=" in value:
        value = tuple(tuple(part.strip().split("=", 1)) for part in value.split(","))
    if not isinstance(value, list | tuple):
        return value
    names = [pair[0] for pair in value if isinstance(pair, list | tuple) and len(pair) == 2]
    if len(names) < len(value) or sorted(set(names) & set(PRIORITIES)) != sorted(names):
        raise ValueError(f"expected a number, or one for each of {', '.join(PRIORITIES)}")
    return tuple(map(tuple, value))


def patience(said: float | tuple[tuple[str, float], ...] | str) -> tuple[Patience, ...]:
    """Return the patience of each class, by rising priority. "auto" is what is not said."""
    if isinstance(said, float | int):
        return (Patience(PRIORITIES["batch"], float(said)),)
    given = {} if isinstance(said, str) else dict(said)
    rests = {"batch": BATCH_REST_MS} if "batch" not in given else {}
    return tuple(
        Patience(at, given.get(name), rests.get(name, 0.0)) for name, at in PRIORITIES.items()
    )
