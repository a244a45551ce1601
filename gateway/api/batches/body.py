"""The body that asks for a batch."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.api.line_caller import PATHS
from gateway.api.nested import Nested
from gateway.api.responses.body import Metadata
from gateway.core.api_key import ApiKey
from gateway.core.errors import BadRequest, PriorityNotAllowed
from gateway.core.priority import PRIORITIES, priority_of, priority_text

PRIORITY = "priority"
"""The name in the metadata."""
UNITS = {"m": 60, "h": 3600, "d": 86400}
LONGEST_WINDOW_S = 30 * 86400
LongSeconds = Annotated[int, Field(ge=3600, le=30 * 86400)]


def seconds(window: str) -> int:
    """Return the length of a completion window. Raises ValueError."""
    parts = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", window)
    length = int(parts[1]) * UNITS[parts[2]] if parts else 0
    if not 0 < length <= LONGEST_WINDOW_S:
        raise ValueError("Input should be '24h', or a time like '90m' or '7d', 30 days at most")
    return length


def _window(value: str) -> str:
    seconds(value)
    return value


def _endpoint(value: str) -> str:
    if value not in PATHS:
        raise ValueError(f"Input should be one of {', '.join(PATHS)}")
    return value


class OutputExpiry(Nested):
    anchor: Literal["created_at"]
    """The moment when the files are made."""
    seconds: LongSeconds
    """After it, until they are deleted."""


class BatchBody(Nested):
    input_file_id: str
    """A file of the purpose `batch`: a request in each line."""
    endpoint: Annotated[str, AfterValidator(_endpoint)]
    """The one that all lines are for."""
    completion_window: Annotated[str, AfterValidator(_window)]
    """The time after which the batch expires: `24h`, and here any other, as `90m` or `7d`."""
    metadata: Metadata | None = None
    """Told again with the batch. Its `priority` is that of the lines: `batch` unless it says
    otherwise, by number or by name."""
    output_expires_after: OutputExpiry | None = None
    """The time after which the files with its output are deleted; without it they are kept."""

    def priority(self, key: ApiKey) -> float:
        """Return the priority of the lines. Raises BadRequest or PriorityNotAllowed."""
        usual = min(PRIORITIES["batch"], key.max_priority)
        asked = (self.metadata or {}).get(PRIORITY)
        if asked is None:
            return usual
        param = f"metadata.{PRIORITY}"
        try:
            found = priority_of(asked)
        except ValueError as error:
            raise BadRequest(f"'{param}': {error}", param=param) from None
        if found > key.max_priority:
            allowed = priority_text(key.max_priority)
            message = f"'{param}': this API key allows a priority of {allowed} at most"
            raise PriorityNotAllowed(message, param=param)
        return found
