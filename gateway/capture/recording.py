"""The bytes of one request and its answer while it runs, within bounds.

Two bounds hold: one for the body and the answer of each request, one for all recordings of the
process together, those included that wait to be written. Where either is met the recording goes on
without further bytes and says that it is cut; the request itself never notices.
"""

from dataclasses import dataclass, field

from starlette.types import Message, Scope

FIXED = 2048
"""Bytes for which a recording counts beside those that it keeps."""
PIECE = 64
"""Bytes that a piece costs beside its own: a stream has one for each token."""


class HeldBytes:
    """Bytes that all recordings of a process hold."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def take(self, size: int) -> bool:
        """Count more; False: there is no room, and nothing is counted."""
        if self.held + size > self.most:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Count less."""
        self.held -= size


@dataclass(slots=True)
class RecordedBody:
    """The body of a request, or of its answer."""

    pieces: list[bytes] = field(default_factory=list)
    kept: int = 0
    size: int = 0
    """Bytes that there were, those that are not kept included."""

    @property
    def cut(self) -> bool:
        return self.kept < self.size


class Recording:
    """One request. Written by its own task, until it is handed over."""

    def __init__(
        self, id_: str, group: str, scope: Scope, began_s: float, budget: HeldBytes, most: int
    ) -> None:
        """``began_s``: Unix seconds. ``most``: bytes of either side."""
        self.id = id_
        self.group = group
        self.path: str = scope["path"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.began_s = began_s
        self.request, self.answer = RecordedBody(), RecordedBody()
        self.status = 0
        self.answer_headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        """True once the whole answer was sent."""
        self.hung_up = False
        """True: the client went before that."""
        self.charged = FIXED
        """Bytes of the budget that it has."""
        self._budget, self._most = budget, most

    def received(self, message: Message) -> None:
        """Take what the client sends."""
        if message["type"] == "http.request":
            self._keep(self.request, message.get("body", b""))
        elif not self.complete:
            self.hung_up = True

    def sent(self, message: Message) -> None:
        """Take what is sent to the client."""
        if message["type"] == "http.response.body":
            self._keep(self.answer, message.get("body", b""))
            self.complete = not message.get("more_body", False)
        elif message["type"] == "http.response.start":
            self.status, self.answer_headers = message["status"], [*message["headers"]]

    def _keep(self, side: RecordedBody, piece: bytes) -> None:
        whole = len(piece)
        if not whole:
            return
        if not side.cut and side.size + whole > self._most:
            piece = bytes(memoryview(piece)[: self._most - side.size])
        if not side.cut and piece and self._budget.take(len(piece) + PIECE):
            self.charged += len(piece) + PIECE
            side.pieces.append(piece)
            side.kept += len(piece)
        side.size += whole
