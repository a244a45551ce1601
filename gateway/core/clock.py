"""Units of the clock. Every module that needs the time takes a clock as an argument."""

NANO = 10**9
"""Nanoseconds of a second."""
