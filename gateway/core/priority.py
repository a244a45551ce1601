"""Priorities that have a name; any number is one too, and larger is more urgent."""

PRIORITIES = {"batch": 0.0, "normal": 1.0, "urgent": 2.0}
NORMAL = PRIORITIES["normal"]

OTHER = "other"
CLASSES = (*PRIORITIES, OTHER)
"""What metrics and logs tell apart: any number may be a priority, but no number of series."""
_NAMES = {value: name for name, value in PRIORITIES.items()}


def class_of(priority: float) -> str:
    """The name of a priority, or OTHER: nobody can say what a 7 means to those who send it."""
    return _NAMES.get(priority, OTHER)


def priority_text(value: float) -> str:
    """A priority as people write it: every digit that counts, and no ".0"."""
    return repr(value).removesuffix(".0")
