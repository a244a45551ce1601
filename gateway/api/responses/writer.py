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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from gateway.api.openai.logprobs import token_logprob
from gateway.api.responses.called_tool import CalledTool
from gateway.api.responses.text_argument import TextArgument
from gateway.api.responses.thoughts import sealed
from workers.protocol import CallDelta, Delta, Finished

if TYPE_CHECKING:
    from gateway.api.openai.types import TokenLogprob
    from gateway.api.responses.types import (
        CustomCallItem,
        FunctionCallItem,
        ItemStatus,
        MessageItem,
        ReasoningItem,
        ResponseError,
        ResponseEvent,
        ResponseObject,
        ResponseUsage,
        Status,
    )


@dataclass(frozen=True, slots=True)
class Wishes:
    """A client's wishes about how it is told."""

    summary: bool = False
    """True: thoughts come as a summary, which user interfaces show, not as reasoning text."""
    sealed: bool = False
    """True: thoughts come in ``encrypted_content``, too."""
    logprobs: bool = False


Emit = Callable[..., "ResponseEvent"]


class _Message:
    """A message that grows."""

    def __init__(self, id_: str, at: int, emit: Emit, wishes: Wishes) -> None:
        self.item: MessageItem = {
            "id": id_,
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        self._logprobs = wishes.logprobs
        self._place = {"output_index": at, "item_id": id_, "content_index": 0}
        self._emit = emit
        self._texts: list[str] = []
        self._found: list[TokenLogprob] = []

    def begun(self) -> list[ResponseEvent]:
        part = {"type": "output_text", "text": "", "annotations": []}
        return [self._emit("response.content_part.added", **self._place, part=part)]

    def grow(self, text: str, logprobs: list[TokenLogprob]) -> list[ResponseEvent]:
        self._texts.append(text)
        self._found += logprobs
        fields = {**self._place, "delta": text, "logprobs": logprobs}
        return [self._emit("response.output_text.delta", **fields)]

    def end(self) -> list[ResponseEvent]:
        text = "".join(self._texts)
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
        if self._logprobs:
            part["logprobs"] = self._found
        self.item["content"] = cast(Any, [part])
        done = {**self._place, "text": text, "logprobs": self._found}
        return [
            self._emit("response.output_text.done", **done),
            self._emit("response.content_part.done", **self._place, part=part),
        ]


class _Thought:
    """A thought that grows, as text or as a summary."""

    def __init__(self, id_: str, at: int, emit: Emit, wishes: Wishes) -> None:
        self.item: ReasoningItem = {
            "id": id_,
            "type": "reasoning",
            "status": "in_progress",
            "summary": [],
        }
        if not wishes.summary:
            self.item["content"] = []
        self._wishes = wishes
        self._emit = emit
        index = "summary_index" if wishes.summary else "content_index"
        self._place = {"output_index": at, "item_id": id_, index: 0}
        self._part_event = "reasoning_summary_part" if wishes.summary else "content_part"
        self._text_event = "reasoning_summary_text" if wishes.summary else "reasoning_text"
        self._texts: list[str] = []

    def _part(self, text: str) -> dict[str, str]:
        return {"type": "summary_text" if self._wishes.summary else "reasoning_text", "text": text}

    def begun(self) -> list[ResponseEvent]:
        name = f"response.{self._part_event}.added"
        return [self._emit(name, **self._place, part=self._part(""))]

    def grow(self, text: str) -> list[ResponseEvent]:
        self._texts.append(text)
        return [self._emit(f"response.{self._text_event}.delta", **self._place, delta=text)]

    def end(self) -> list[ResponseEvent]:
        text = "".join(self._texts)
        part = self._part(text)
        self.item["summary" if self._wishes.summary else "content"] = cast(Any, [part])
        if self._wishes.sealed:
            self.item["encrypted_content"] = sealed(text)
        return [
            self._emit(f"response.{self._text_event}.done", **self._place, text=text),
            self._emit(f"response.{self._part_event}.done", **self._place, part=part),
        ]


class _Call:
    """A call of a function or of a custom tool, which grows."""

    def __init__(self, id_: str, call_id: str, at: int, emit: Emit, tool: CalledTool) -> None:
        self._emit = emit
        self._place = {"output_index": at, "item_id": id_}
        self._text: TextArgument | None = None
        head: dict[str, Any] = {"id": id_, "call_id": call_id, "name": tool.name}
        if tool.namespace is not None:
            head["namespace"] = tool.namespace
        self.item: FunctionCallItem | CustomCallItem
        if tool.custom:
            self._text = TextArgument()
            self.item = cast("CustomCallItem", {"type": "custom_tool_call", **head, "input": ""})
        else:
            head |= {"status": "in_progress", "arguments": ""}
            self.item = cast("FunctionCallItem", {"type": "function_call", **head})
        self._pieces: list[str] = []

    def begun(self) -> list[ResponseEvent]:
        return []

    def grow(self, arguments: str) -> list[ResponseEvent]:
        piece = arguments if self._text is None else self._text.push(arguments)
        if not piece:
            return []
        self._pieces.append(piece)
        kind = "function_call_arguments" if self._text is None else "custom_tool_call_input"
        return [self._emit(f"response.{kind}.delta", **self._place, delta=piece)]

    def end(self) -> list[ResponseEvent]:
        whole = "".join(self._pieces)
        if self.item["type"] == "custom_tool_call":
            self.item["input"] = whole
            return [self._emit("response.custom_tool_call_input.done", **self._place, input=whole)]
        self.item["arguments"] = whole
        fields = {**self._place, "arguments": whole}
        return [self._emit("response.function_call_arguments.done", **fields)]


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
        self._open: _Message | _Thought | _Call | None = None
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
            logprobs = [token_logprob(one) for one in extra.logprobs]
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
        if not isinstance(self._open, _Message):
            found = self._begin(_Message(*self._next("msg"), self._emit, self._wishes))
        assert isinstance(self._open, _Message)
        return [*found, *self._open.grow(text, logprobs)] if text else found

    def _think(self, text: str) -> list[ResponseEvent]:
        found: list[ResponseEvent] = []
        if not isinstance(self._open, _Thought):
            found = self._begin(_Thought(*self._next("rs"), self._emit, self._wishes))
        assert isinstance(self._open, _Thought)
        return [*found, *self._open.grow(text)]

    def _call(self, call: CallDelta) -> list[ResponseEvent]:
        found: list[ResponseEvent] = []
        if call.name is not None:
            tool = self._tools(call.name)
            id_, at = self._next("ctc" if tool.custom else "fc")
            call_id = f"call_{self._name}{at:02x}"
            found = self._begin(_Call(id_, call_id, at, self._emit, tool))
        assert isinstance(self._open, _Call), "a call's pieces follow one another"
        return [*found, *self._open.grow(call.arguments)]

    def _next(self, prefix: str) -> tuple[str, int]:
        """Return the id and the index of the next item."""
        at = len(self.response["output"])
        if self._open is not None:
            at += 1
        return f"{prefix}_{self._name}{at:02x}", at

    def _begin(self, made: _Message | _Thought | _Call) -> list[ResponseEvent]:
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
