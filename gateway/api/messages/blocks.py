"""From the pieces of an answer to its blocks, one after the other. Pure.

Blocks never overlap, and their indexes are 0, 1, 2, ... in the order in which they begin: clients
find a block by its index in the list of those they have. A whole answer is made of the same events
as a stream, so both have the same blocks.
"""

from gateway.api import json_text
from gateway.api.messages.signature import signed
from gateway.api.messages.types import (
    AnswerBlock,
    BlockEvent,
    InputJsonDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from gateway.core.errors import BadRequest
from workers.protocol import CallDelta, Extra


class BlockWriter:
    """The events of one answer's blocks, and the blocks themselves."""

    def __init__(self, request_id: str, *, hides_thoughts: bool) -> None:
        """``hides_thoughts``: a thought comes without its text, which is in its signature."""
        self.blocks: list[AnswerBlock] = []
        self._request_id = request_id
        self._hides_thoughts = hides_thoughts
        self._open: AnswerBlock | None = None
        """The last block, until it is closed."""
        self._call = -1
        """The number of the open call."""
        self._written: list[str] = []
        """The pieces of the open block's text, thought or arguments."""
        self._blank = ""
        """Blanks that no text has followed yet: they are no block."""

    def take(self, text: str, extra: Extra | None) -> list[BlockEvent]:
        """Return the events of the next piece: its thought, then its text, then its calls."""
        events: list[BlockEvent] = []
        if extra is not None and extra.reasoning:
            events += self._thought(extra.reasoning)
        if text:
            events += self._text(text)
        for call in extra.calls if extra is not None else ():
            events += self._called(call)
        return events

    def end(self) -> list[BlockEvent]:
        """Return the events after the last piece. An answer of nothing has one empty text."""
        events: list[BlockEvent] = []
        if not self.blocks:
            blank, self._blank = self._blank, ""
            events += self._begin({"type": "text", "text": ""})
            if blank:
                events += self._say(blank)
        return [*events, *self._close()]

    def _thought(self, text: str) -> list[BlockEvent]:
        events: list[BlockEvent] = []
        if self._open is None or self._open["type"] != "thinking":
            events = self._begin({"type": "thinking", "thinking": "", "signature": ""})
        self._written.append(text)
        if not self._hides_thoughts:
            events.append(self._delta({"type": "thinking_delta", "thinking": text}))
        return events

    def _text(self, text: str) -> list[BlockEvent]:
        if self._open is not None and self._open["type"] == "text":
            return self._say(text)
        text, self._blank = self._blank + text, ""
        if text.isspace():
            self._blank = text
            return []
        return [*self._begin({"type": "text", "text": ""}), *self._say(text)]

    def _say(self, text: str) -> list[BlockEvent]:
        self._written.append(text)
        return [self._delta({"type": "text_delta", "text": text})]

    def _called(self, call: CallDelta) -> list[BlockEvent]:
        events: list[BlockEvent] = []
        if call.name is not None:
            id_ = f"toolu_{self._request_id}{call.index:02x}"
            events = self._begin({"type": "tool_use", "id": id_, "name": call.name, "input": {}})
            self._call = call.index
        assert call.index == self._call, "calls come one after the other"
        if call.arguments:
            self._written.append(call.arguments)
            delta: InputJsonDelta = {"type": "input_json_delta", "partial_json": call.arguments}
            events.append(self._delta(delta))
        return events

    def _begin(self, block: AnswerBlock) -> list[BlockEvent]:
        """Begin a block, after the end of the one before."""
        events = self._close()
        self._open, self._blank = block, ""
        self.blocks.append(block)
        # A copy: what a stream tells of a block's start does not change with the block.
        started: AnswerBlock = block.copy()
        start: BlockEvent = {
            "type": "content_block_start",
            "index": len(self.blocks) - 1,
            "content_block": started,
        }
        return [*events, start]

    def _close(self) -> list[BlockEvent]:
        """End the open block, if there is one."""
        block, written = self._open, "".join(self._written)
        self._open, self._written, self._call = None, [], -1
        if block is None:
            return []
        events: list[BlockEvent] = []
        if block["type"] == "text":
            block["text"] = written
        elif block["type"] == "thinking":
            signature = signed(written, hidden=self._hides_thoughts)
            block["thinking"] = "" if self._hides_thoughts else written
            block["signature"] = signature
            events.append(self._delta({"type": "signature_delta", "signature": signature}))
        else:
            block["input"] = _object(written)
        stop: BlockEvent = {"type": "content_block_stop", "index": len(self.blocks) - 1}
        return [*events, stop]

    def _delta(
        self, delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta
    ) -> BlockEvent:
        index = len(self.blocks) - 1
        return {"type": "content_block_delta", "index": index, "delta": delta}


def _object(arguments: str) -> dict[str, object]:
    """Return a call's arguments; of one that was cut off, none."""
    try:
        value = json_text.load((arguments or "{}").encode("utf-8", "replace"))
    except BadRequest:
        return {}
    return value if isinstance(value, dict) else {}
