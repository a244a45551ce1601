"""A span as plain facts, before OpenTelemetry has it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.trace import Trace

Value = str | int | float | bool | list[str]
Attributes = dict[str, Value]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """A moment within a span."""

    name: str
    at_ns: int
    """Unix time."""
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Span:
    """A span that has ended."""

    trace: Trace
    name: str
    span_id: str
    """16 hexadecimal digits; "": any."""
    parent: str
    """Id of the span above it; "": there is none."""
    start_ns: int
    """Unix time, as is the end."""
    end_ns: int
    kind: Literal["server", "internal"] = "internal"
    remote: bool = False
    """True if the span above it is another program's."""
    attributes: Attributes = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    links: list[Trace] = field(default_factory=list)
    """Spans of other traces that it comes from, each as the parent in its trace."""
    error: str | None = None
    """The kind of the error that it ended with; never a message, which may quote a request."""
