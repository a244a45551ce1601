"""The shapes of batches, as OpenAI's clients read them."""

from typing import Literal

from typing_extensions import TypedDict

from gateway.api.responses.types import OutputTokensDetails
from gateway.batches.record import Status
from gateway.batches.validation import BatchProblem


class BatchErrors(TypedDict):
    object: Literal["list"]
    data: list[BatchProblem]


class RequestCounts(TypedDict):
    total: int
    completed: int
    """Lines answered with success."""
    failed: int
    """Lines of the error file."""


class BatchInputDetails(TypedDict):
    cached_tokens: int


class BatchUsage(TypedDict):
    input_tokens: int
    input_tokens_details: BatchInputDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchObject(TypedDict):
    """A batch. Times are Unix seconds, null until they come."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    """The one of all lines; null until the file is validated."""
    errors: BatchErrors | None
    """Of a batch that has failed."""
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    """The answers; null if no line has one."""
    error_file_id: str | None
    """The errors; null if no line has one."""
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchList(TypedDict):
    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
