"""Server-sent events: the response class of the dialects that stream them.

A stream that waits in the queue for long gets its headers all the same, and comments from then on;
how long it waited in all is then told in a comment too.

A comment is a line without a blank one behind it, and stands before an event, never in one. The
standard has a blank line dispatch nothing where there is no data, but several clients (those of Go
and older ones of Python among them) take it for an event without data, and fail to parse that.
"""

from gateway.api.ticket_stream import TicketStream
from gateway.core.clock import NANO

COMMENT = b": waiting\n"


class EventStream(TicketStream):
    """Streams a ticket as server-sent events."""

    media_type = "text/event-stream"

    def late(self) -> bytes:
        started = self.ticket.dispatched_ns or self.ticket.ended_ns
        assert started is not None, "neither started nor ended"
        return f": queue-wait {(started - self.ticket.arrived_ns) / NANO:.6f}\n".encode()
