"""Priorities that have a name; any number is one too, and larger is more urgent."""

PRIORITIES = {"batch": 0.0, "normal": 1.0, "urgent": 2.0}
NORMAL = PRIORITIES["normal"]
