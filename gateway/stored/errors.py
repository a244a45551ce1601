"""Reasons why there is no store. Clients get a :class:`gateway.core.errors.ForgeError` instead."""


class StoreUnusable(Exception):
    """The options are wrong, or the place is: one line that says why."""


class StoreUnreachable(StoreUnusable):
    """The database does not answer now; another attempt may find it."""


class StoreTaken(Exception):
    """Another server uses the folder."""


MOST_STATEMENT = 400
"""Characters of a statement that an error repeats."""


class StatementFailed(Exception):
    """A statement failed, and neither the disk nor the connection is the reason: a bug, as a rule.

    Drivers and SQLAlchemy tell the values of a statement with its errors, and these are clients'
    texts, which do not belong into a log. So this stands for theirs, and has none of them.
    """

    def __init__(self, kind: str, statement: str | None) -> None:
        """``kind``: the driver's name for the error; ``statement`` has places for its values."""
        told = " ".join((statement or "no statement").split())
        super().__init__(f"{kind} in: {told[:MOST_STATEMENT]}")
        self.kind = kind
