"""A generation's events as those of the Responses dialect: items, their parts, and one end. Pure.

Laws, for any pieces that come in any order:

- the sequence numbers are 0, 1, 2, ...; the first event is ``response.created``;
- an item's id, index and place in ``output`` never change; each one added is done before the next
  is added, and before the end; the deltas of a part make the text in its done event;
- there is one last event: completed, incomplete, failed or (without an event) cancelled.

A text "Hi" is told as created, in_progress, output_item.added, content_part.added,
output_text.delta, output_text.done, content_part.done, output_item.done, completed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from gateway.api.openai.logprobs import token_json
from gateway.api.responses.called_tool import CalledTool
from gateway.api.responses.growing_items import (
    GrowingCall,
    GrowingMessage,
    GrowingThought,
    Wishes,
)
from workers.protocol import CallDelta, Delta, Finished

if TYPE_CHECKING:
    from gateway.api.openai.types import TokenLogprob
    from gateway.api.responses.types import (
        ItemStatus,
        ResponseError,
        ResponseEvent,
        ResponseObject,
        ResponseUsage,
        Status,
    )


class EventWriter:
    """Tells one response, from its creation to its end."""

    def __init__(
        self,
        response: ResponseObject,
        name: str,
        tools: Callable[[str], CalledTool],
        wishes: Wishes,
    ) -> None:
        """``name``: the request's, of which all ids are made; so they survive a worker.

        ``tools`` finds a tool by the name that the model knows.
        """
        self.response = response
        self._name = name
        self._tools = tools
        self._wishes = wishes
        self._number = 0
        self._open: GrowingMessage | GrowingThought | GrowingCall | None = None
        self._reasoning_tokens = 0

    @property
    def ended(self) -> bool:
        return self.response["status"] not in ("queued", "in_progress")

    def created(self) -> list[ResponseEvent]:
        """Return the first event."""
        return [self._state("response.created")]

    def waiting(self, position: int | None) -> list[ResponseEvent]:
        """Return an event that keeps an idle client patient; ``position``: its place in the queue,
        None if it has left it."""
        if position is None:
            return self.started()
        self.moved(position)
        return [self._state("response.queued")]

    def moved(self, position: int) -> None:
        """Note a place in the queue without an event."""
        self.response["status"] = "queued"
        self.response["queue"] = {"position": position}

    def started(self) -> list[ResponseEvent]:
        """Return the event that tells of a start, or that the work goes on."""
        self.response["status"] = "in_progress"
        self.response.pop("queue", None)
        return [self._state("response.in_progress")]

    def take(self, event: Delta | Finished) -> list[ResponseEvent]:
        """Return the events of what comes next; those of the end are :meth:`finish`'s."""
        found: list[ResponseEvent] = []
        logprobs: list[TokenLogprob] = []
        if event.extra is not None:
            extra = event.extra
            # As JSON they take a tenth of the room, and they stay until the end.
            logprobs = [cast(Any, token_json(one)) for one in extra.logprobs]
            if extra.reasoning:
                if not event.text and not extra.calls:
                    self._reasoning_tokens += len(event.ids)
                found += self._think(extra.reasoning)
        if event.text:
            found += self._say(event.text, logprobs if self._wishes.logprobs else [])
        if event.extra is not None:
            for call in event.extra.calls:
                found += self._call(call)
        return found

    def finish(self, reason: str, usage: ResponseUsage, now: int) -> list[ResponseEvent]:
        """Return the last events of an answer. ``reason``: the worker's to end; ``now``: Unix s."""
        cut = reason == "length"
        found: list[ResponseEvent] = []
        if not self.response["output"] and self._open is None and not cut:
            found += self._say("", [])
        found += self._close("incomplete" if cut else "completed")
        usage["output_tokens_details"]["reasoning_tokens"] = self._reasoning_tokens
        self.response["usage"] = usage
        if cut:
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
            return [*found, self._end("incomplete")]
        self.response["completed_at"] = now
        return [*found, self._end("completed")]

    def fail(self, error: ResponseError) -> list[ResponseEvent]:
        """Return the last events of an answer that can't go on."""
        found = self._close("incomplete")
        self.response["error"] = error
        return [*found, self._end("failed")]

    def cancel(self) -> list[ResponseEvent]:
        """Return the last events of an answer that is not wanted any more."""
        found = self._close("incomplete")
        self.response["status"] = "cancelled"
        self.response.pop("queue", None)
        # The dialect has no event of that name; clients know this one as an end.
        return [*found, self._state("response.incomplete")]

    # ------------------------------------------------------------------ items

    def _say(self, text: str, logprobs: list[TokenLogprob]) -> list[ResponseEvent]:
        found: list[ResponseEvent] = []
        if not isinstance(self._open, GrowingMessage):
            found = self._begin(GrowingMessage(*self._next("msg"), self._emit, self._wishes))
        assert isinstance(self._open, GrowingMessage)
        return [*found, *self._open.grow(text, logprobs)] if text else found

    def _think(self, text: str) -> list[ResponseEvent]:
        found: list[ResponseEvent] = []
        if not isinstance(self._open, GrowingThought):
            found = self._begin(GrowingThought(*self._next("rs"), self._emit, self._wishes))
        assert isinstance(self._open, GrowingThought)
        return [*found, *self._open.grow(text)]

    def _call(self, call: CallDelta) -> list[ResponseEvent]:
        found: list[ResponseEvent] = []
        if call.name is not None:
            tool = self._tools(call.name)
            id_, at = self._next("ctc" if tool.custom else "fc")
            call_id = f"call_{self._name}{at:02x}"
            found = self._begin(GrowingCall(id_, call_id, at, self._emit, tool))
        assert isinstance(self._open, GrowingCall), "a call's pieces follow one another"
        return [*found, *self._open.grow(call.arguments)]

    def _next(self, prefix: str) -> tuple[str, int]:
        """Return the id and the index of the next item."""
        at = len(self.response["output"])
        if self._open is not None:
            at += 1
        return f"{prefix}_{self._name}{at:02x}", at

    def _begin(self, made: GrowingMessage | GrowingThought | GrowingCall) -> list[ResponseEvent]:
        found = self._close("completed")
        self._open = made
        at = len(self.response["output"])
        added = self._emit("response.output_item.added", output_index=at, item={**made.item})
        return [*found, added, *made.begun()]

    def _close(self, status: ItemStatus) -> list[ResponseEvent]:
        """End the item that grows, if one does."""
        if self._open is None:
            return []
        grown, self._open = self._open, None
        found = grown.end()
        if grown.item["type"] != "custom_tool_call":
            grown.item["status"] = status
        at = len(self.response["output"])
        self.response["output"].append(grown.item)
        return [*found, self._emit("response.output_item.done", output_index=at, item=grown.item)]

    # ------------------------------------------------------------------ events

    def _end(self, status: Status) -> ResponseEvent:
        self.response["status"] = status
        self.response.pop("queue", None)
        return self._state(f"response.{status}")

    def _state(self, type_: str) -> ResponseEvent:
        """Return an event with the whole response as it is now."""
        return self._emit(type_, response={**self.response, "output": [*self.response["output"]]})

    def _emit(self, type_: str, **fields: Any) -> ResponseEvent:
        event = {"type": type_, "sequence_number": self._number, **fields}
        self._number += 1
        return cast("ResponseEvent", event)
