"""Parts of what a client of Anthropic's dialect sends."""

from typing import Any

from gateway.api.body import parse
from gateway.api.field_policy import IgnoredFields
from gateway.api.messages.body import MessagesBody

HI = {"role": "user", "content": "hi"}
EPHEMERAL = {"type": "ephemeral", "ttl": "1h", "scope": "global"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}


def body(*messages: Any, **fields: Any) -> MessagesBody:
    raw = {"messages": [*messages] or [HI], "max_tokens": 64, **fields}
    return parse(MessagesBody, raw, IgnoredFields())


def prompt(*messages: Any, **fields: Any) -> list[dict[str, Any]]:
    return body(*messages, **fields).chat().messages


def result(content: Any = None, **fields: Any) -> dict[str, Any]:
    given = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": "toolu_1", **given, **fields}


def said(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": [*blocks]}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}
