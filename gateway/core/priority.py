"""Priorities that have a name; any number is one too, and larger is more urgent."""

PRIORITIES = {"batch": 0.0, "normal": 1.0, "urgent": 2.0}
NORMAL = PRIORITIES["normal"]

OTHER = "other"
CLASSES = (*PRIORITIES, OTHER)
"""The classes of metrics and logs: any number may be a priority, but no number of series."""
_NAMES = {value: name for name, value in PRIORITIES.items()}


def class_of(priority: float) -> str:
    """Return the name of a priority, or OTHER: a 7 means what its clients agree on."""
    return _NAMES.get(priority, OTHER)


def priority_text(value: float) -> str:
    """A priority as people write it: every digit that counts, and no ".0"."""
    return repr(value).removesuffix(".0")
