"""A batch as it stands in the store, and what is exchanged with the store about its lines. Pure."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gateway.batches.answers import TokenCounts
from gateway.batches.validation import BatchProblem

Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
Ending = Literal["completed", "failed", "expired", "cancelled"]
ENDED: tuple[Ending, ...] = ("completed", "failed", "expired", "cancelled")
"""States that a batch does not leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """One row; times are whole Unix seconds."""

    seq: int
    id: str
    owner: str
    endpoint: str
    completion_window: str
    """The client's text."""
    status: Status
    ending: Ending | None
    """The state that the batch will end in, once that is settled: no result is added any more."""
    gateway: str | None
    """The server that validates or finalizes it."""
    priority: float
    model: str | None
    input_file: str
    output_file: str | None
    error_file: str | None
    output_age: int | None
    """Seconds after which its output is deleted."""
    metadata: dict[str, str] | None
    errors: list[BatchProblem]
    total: int
    completed: int
    failed: int
    tokens: TokenCounts
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    origin: str | None
    """The span of the request that made it, as a traceparent."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def done(self) -> int:
        """Lines that have a result."""
        return self.completed + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch that a client asks for."""

    id: str
    owner: str
    endpoint: str
    completion_window: str
    priority: float
    input_file: str
    output_age: int | None
    metadata: dict[str, str] | None
    created_at: int
    expires_at: int
    room: int
    """Bytes that the owner may keep in all."""
    origin: str = ""
    """The span of the request, as a traceparent; "": there is none."""


class TakenLine(NamedTuple):
    """A line that this gateway runs."""

    batch: str
    number: int
    custom_id: str
    body: bytes


class DoneLine(NamedTuple):
    """The result of one."""

    batch: str
    number: int
    ok: bool
    result: bytes
    """Its line of the output file, or of the error file."""
    tokens: TokenCounts


@dataclass(slots=True)
class Exchange:
    """The results of one exchange with the store."""

    recorded: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Results that count now, by batch: completed, failed."""
    taken: list[TakenLine] = field(default_factory=list)
