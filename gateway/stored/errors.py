"""Reasons why there is no store. Clients get a :class:`gateway.core.errors.ForgeError` instead."""


class StoreUnusable(Exception):
    """The options are wrong, or the place is: one line that says why."""


class StoreUnreachable(StoreUnusable):
    """The database does not answer now; another attempt may find it."""


class StoreTaken(Exception):
    """Another server uses the folder."""
