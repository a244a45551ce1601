"""The items of a response while they grow: a message, a thought or a call, with their events. Pure.

Each tells the beginning of its part (``begun``), each piece (``grow``) and the end (``end``), after
which its ``item`` is whole. The item's own events are :mod:`gateway.api.responses.writer`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from gateway.api.responses.text_argument import TextArgument
from gateway.api.responses.thoughts import sealed

if TYPE_CHECKING:
    from gateway.api.openai.types import TokenLogprob
    from gateway.api.responses.called_tool import CalledTool
    from gateway.api.responses.types import (
        CustomCallItem,
        FunctionCallItem,
        MessageItem,
        ReasoningItem,
        ResponseEvent,
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


class GrowingMessage:
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


class GrowingThought:
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


class GrowingCall:
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
