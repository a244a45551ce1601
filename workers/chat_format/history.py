"""Earlier calls and their results, as chat templates read them. Pure.

OpenAI's messages fit no template quite: arguments are a string of JSON where most templates want an
object, ids are longer than Mistral's tokenizer allows, a result does not name its function.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from workers.protocol import ToolUse

Message = dict[str, Any]
Tools = list[dict[str, Any]]

_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True)
class TemplateTools:
    """For templates that know tools, calls and results."""

    objects: bool = True
    """True if they read arguments as an object; else as JSON."""
    short_ids: bool = False
    """True if ids of calls must be nine letters and digits."""
    single: bool = False
    """True if a turn may hold one call only; more become a turn each, with its results."""
    no_text: str | None = ""
    """The content of a turn that is nothing but calls."""
    text_apart: bool = False
    """True if the text before calls must be a turn of its own, to be seen."""
    result_role: str = "tool"

    def adapt(self, messages: list[Message], use: ToolUse | None) -> tuple[list[Message], Tools]:
        """Messages, and the tools to show: none to a model that may not call any."""
        names = call_names(messages)
        adapted: list[Message] = []
        for message in messages:
            if message["role"] == "tool":
                adapted.append(self._result(message, names))
            elif calls := message.get("tool_calls"):
                adapted += self._caller(message, calls)
            else:
                adapted.append(plain(message))
        if self.single:
            adapted = _one_by_one(adapted)
        return adapted, use.tools if use is not None and use.callable else []

    def _caller(self, message: Message, calls: list[dict[str, Any]]) -> list[Message]:
        text = message.get("content") or ""
        calls = [self._call(call) for call in calls]
        if text and self.text_apart:
            spoken = {key: value for key, value in message.items() if key != "tool_calls"}
            return [
                spoken,
                {"role": message["role"], "content": self.no_text, "tool_calls": calls},
            ]
        return [{**message, "content": text or self.no_text, "tool_calls": calls}]

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = call["function"]
        arguments = function["arguments"]
        return {
            **call,
            **({"id": self._id(call["id"])} if "id" in call else {}),
            "function": {
                "name": function["name"],
                "arguments": as_object(arguments) if self.objects else as_json(arguments),
            },
        }

    def _result(self, message: Message, names: dict[str, str]) -> Message:
        result = {**plain(message), "role": self.result_role}
        call_id = message.get("tool_call_id")
        if call_id is not None:
            result["tool_call_id"] = self._id(call_id)
            if call_id in names:
                result.setdefault("name", names[call_id])
        return result

    def _id(self, call_id: str) -> str:
        if not self.short_ids or _SHORT_ID.fullmatch(call_id):
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def call_names(messages: list[Message]) -> dict[str, str]:
    """Return the function that each id calls."""
    return {
        call["id"]: call["function"]["name"]
        for message in messages
        for call in message.get("tool_calls") or []
        if "id" in call
    }


def plain(message: Message) -> Message:
    """A message without calls: templates ask whether the key is there, and add to the content."""
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "" if message.get("content") is None else message["content"]}


def as_object(arguments: Any) -> Any:
    """Arguments of an earlier call. What is no JSON object stays as the client wrote it."""
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments)
        except ValueError:
            return arguments
        return value if isinstance(value, dict) else arguments
    return arguments


def as_json(arguments: Any) -> str:
    """The same as text."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _one_by_one(messages: list[Message]) -> list[Message]:
    """A turn for each call, followed by the results that are its own."""
    out: list[Message] = []
    at = 0
    while at < len(messages):
        message, at = messages[at], at + 1
        calls = message.get("tool_calls") or []
        if len(calls) < 2:
            out.append(message)
            continue
        first = at
        by_call: dict[str, list[Message]] = {}
        while at < len(messages) and "tool_call_id" in messages[at]:
            by_call.setdefault(messages[at]["tool_call_id"], []).append(messages[at])
            at += 1
        for index, call in enumerate(calls):
            out.append({**message, "tool_calls": [call]})
            if index:  # the text and the thought were before the first one
                out[-1]["content"] = ""
                out[-1].pop("reasoning_content", None)
            out += by_call.pop(call.get("id"), [])
        out += [result for result in messages[first:at] if result["tool_call_id"] in by_call]
    return out
