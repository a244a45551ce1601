"""The place from which on an activated LoRA adapter (aLoRA) counts. Pure.

Such an adapter was trained to count from the last occurrence of its *invocation* in a prompt on;
what stands before is computed as if it were not there, so it shares that with the base.
"""

from collections.abc import Sequence


def last_of(wanted: Sequence[int], tokens: Sequence[int]) -> int | None:
    """Return where the last occurrence of ``wanted`` in ``tokens`` begins; None if none does."""
    found = list(wanted)
    for at in range(len(tokens) - len(found), -1, -1):
        if tokens[at] == found[0] and list(tokens[at : at + len(found)]) == found:
            return at
    return None
