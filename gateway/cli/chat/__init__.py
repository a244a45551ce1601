"""Talking to a model from a terminal: ``forge chat`` and ``forge run``."""
