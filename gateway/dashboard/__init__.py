"""The live page: what it is shown, and the page itself in ``static/``.

State is read only while a viewer watches, and one snapshot is shared by all viewers.
"""
