"""The refusal of a request that a worker can't serve. Pure."""


class InputRefused(Exception):
    """The prompt can't be served; ``code`` is one of the protocol's FAILURES."""

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        overflow: tuple[int, int] | None = None,
    ) -> None:
        """``param`` is the faulty field, in OpenAI's names; ``overflow`` as in Failed."""
        super().__init__(message)
        self.code = code
        self.param = param
        self.overflow = overflow
