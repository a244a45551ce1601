"""The place of a request in a trace: W3C Trace Context from clients, checked and bounded. Pure.

    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    tracestate:  vendor=value,other@tenant=value

The flag at its end says that the client's own spans are kept. It decides nothing here: a client
could make a server keep all of its spans. https://www.w3.org/TR/trace-context/
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_STATE = 512
"""Characters of a tracestate; a longer one is dropped as a whole."""
MAX_MEMBERS = 32

_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}"
)
_PARENT_LENGTH = 55
_KEY = r"[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"({_KEY})=({_VALUE})")


@dataclass(slots=True)
class Trace:
    """The trace that a request belongs to, which its client began, or Forge."""

    trace_id: str
    """32 hexadecimal digits, as the ids of spans are 16 of them."""
    parent_span: str = ""
    """The client's; "": Forge began the trace."""
    state: str = ""
    """The tracestate, which is passed on as it came."""
    request_span: str = ""
    """Of the HTTP request; "" unless Forge keeps its spans."""
    work_span: str = ""
    """Of the work below it; "" unless Forge keeps its spans."""
    epoch_ns: int = 0
    """Unix time at which the monotonic clock began, so that all spans agree."""
    streamed: bool = False
    """True if the answer is a stream, as soon as that is known."""

    @property
    def traceparent(self) -> str:
        """Return the header for what works under the work's span."""
        return f"00-{self.trace_id}-{self.work_span}-01"

    @property
    def origin(self) -> str:
        """Return the header that names the request itself, for what has a trace of its own and is
        done because of it; "" if no span of the request is known."""
        span, kept = (self.request_span, "01") if self.request_span else (self.parent_span, "00")
        return f"00-{self.trace_id}-{span}-{kept}" if span else ""

    @property
    def sampled(self) -> bool:
        """Return whether Forge keeps the spans of the request."""
        return bool(self.work_span)


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """Return the trace that a request's headers name, whose names are in small letters."""
    parents, states = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value.decode("latin-1"))
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    return read_trace(parents, states) if parents else None


def read_trace(parents: list[str], states: Iterable[str]) -> Trace | None:
    """Return the trace that the values of a request's headers name; None if they name none.

    A tracestate that is malformed or too long is left out, and with a malformed traceparent all is.
    """
    if len(parents) != 1:
        return None
    (parent,) = parents
    found = _PARENT.match(parent)
    if found is None:
        return None
    rest = parent[_PARENT_LENGTH:]
    if rest and (parent.startswith("00") or not rest.startswith("-")):
        return None
    return Trace(found[1], found[2], checked_state(",".join(states)))


def checked_state(state: str) -> str:
    """Return a tracestate without blanks and empty members; "" if it is malformed or too long."""
    if len(state) > MAX_STATE:
        return ""
    members = [each for each in (part.strip(" \t") for part in state.split(",")) if each]
    if len(members) > MAX_MEMBERS:
        return ""
    found = [_MEMBER.fullmatch(each) for each in members]
    keys = {each[1] for each in found if each is not None}
    return ",".join(members) if len(keys) == len(members) else ""
