"""``forge doctor``: what this machine has of what ``forge serve`` needs, and what to do about it.

Its own modules need Python's library alone at import: the command has to answer before Forge's
dependencies and a compiler are there.
"""
