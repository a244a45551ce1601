"""The live page: what it is shown, and the page itself in ``static/``.

Nothing is looked at while nobody watches. While somebody does, one look is shared by all viewers.
"""
