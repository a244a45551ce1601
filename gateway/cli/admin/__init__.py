"""``forge keys`` and ``forge usage``: an admin's view of a running server."""
