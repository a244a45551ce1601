"""The rest of the gateway as batches see it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.batches.answers import EndpointAnswer
from gateway.core.api_key import ApiKey

FindKey = Callable[[str], ApiKey | None]
"""Returns the key of a name; None: there is none any more."""


class Endpoints(Protocol):
    """Answers lines as clients are answered."""

    async def call(
        self,
        key: ApiKey,
        url: str,
        body: Mapping[str, Any],
        priority: float,
        spare: bool,
        request_id: str = "",
        origin: str = "",
    ) -> EndpointAnswer:
        """Return the answer to a line. ``priority``: of a body that asks for none.

        ``origin``: the span of the request that made the batch, as a traceparent.
        """
        ...

    def raise_priority(self, request_id: str, priority: float) -> None:
        """Let a line in flight wait as an ordinary request of this priority does."""
        ...


class BatchModels(Protocol):
    """The models that are served."""

    def find(self, key: ApiKey, name: str | None) -> str | None:
        """Return the own name of the model that a key means, if it may use that one."""
        ...

    def slots(self, model: str) -> int:
        """Return how many sequences of a model run at once; 0: there is no such model now."""
        ...
