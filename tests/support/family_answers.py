"""Answers as the families publish that their models write them, by hand."""

from workers.protocol import ToolUse

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def tool(name: str, parameters: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("weather", CITY), tool("add", ADD), tool("weather_now", CITY)]
NAMES = ["weather", "add"]
"""The third one is there, but may not be called."""


def use(
    *, required: bool = False, parallel: bool = True, names: list[str] | None = None
) -> ToolUse:
    return ToolUse(TOOLS, NAMES if names is None else names, required, parallel)


PARIS = '{"city": "Pa\\"}ris\\\\"}'
SUM = '{"a": 1, "b": -20}'

_TWO_TAGS = (
    '<tool_call>\n{"name": "weather", "arguments": ' + PARIS + "}\n</tool_call>\n"
    '<tool_call>\n{"name": "add", "arguments": ' + SUM + "}\n</tool_call>"
)
_TWO_LISTED = (
    '[{"name": "weather", "arguments": ' + PARIS + '}, {"name": "add", "arguments": ' + SUM + "}]"
)


def _deep(text: str) -> str:
    return text.replace("<|", "<\uff5c").replace("|>", "\uff5c>").replace("_", "\u2581")


TWO_CALLS = {
    "forge-tiny": _TWO_TAGS,
    "qwen": _TWO_TAGS,
    "mistral": "[TOOL_CALLS]" + _TWO_LISTED,
    "mistral-args": f"[TOOL_CALLS]weather[ARGS]{PARIS}[TOOL_CALLS]add[ARGS]{SUM}",
    "firefunction": "functools" + _TWO_LISTED,
    "function-tag": f"<function=weather>{PARIS}</function><function=add>{SUM}</function>",
    "functionary": f"weather\n{PARIS}>>>add\n{SUM}",
    "deepseek": _deep("<|tool_calls_begin|><|tool_call_begin|>weather<|tool_sep|>")
    + PARIS
    + _deep("<|tool_call_end|><|tool_call_begin|>add<|tool_sep|>")
    + SUM
    + _deep("<|tool_call_end|><|tool_calls_end|>"),
    "deepseek-fenced": _deep("<|tool_calls_begin|><|tool_call_begin|>function<|tool_sep|>weather")
    + f"\n```json\n{PARIS}\n```"
    + _deep("<|tool_call_end|>\n<|tool_call_begin|>function<|tool_sep|>add")
    + f"\n```json\n{SUM}\n```"
    + _deep("<|tool_call_end|><|tool_calls_end|>"),
    "phi": "<|tool_call|>" + _TWO_LISTED + "<|/tool_call|>",
}
"""Answers with two calls: weather(PARIS) and add(SUM)."""

ONE_CALL = {
    "forge-tiny": _TWO_TAGS[: _TWO_TAGS.index("\n<tool_call>", 1)],
    "qwen": _TWO_TAGS[: _TWO_TAGS.index("\n<tool_call>", 1)],
    "llama": '{"name": "weather", "parameters": ' + PARIS + "}",
    "mistral": '[TOOL_CALLS][{"name": "weather", "arguments": ' + PARIS + "}]",
    "mistral-args": f"[TOOL_CALLS]weather[ARGS]{PARIS}",
    "firefunction": 'functools[{"name": "weather", "arguments": ' + PARIS + "}]",
    "function-tag": f"<function=weather>{PARIS}</function>",
    "functionary": f"weather\n{PARIS}",
    "deepseek": _deep("<|tool_calls_begin|><|tool_call_begin|>weather<|tool_sep|>")
    + PARIS
    + _deep("<|tool_call_end|><|tool_calls_end|>"),
    "deepseek-fenced": _deep("<|tool_calls_begin|><|tool_call_begin|>function<|tool_sep|>weather")
    + f"\n```json\n{PARIS}\n```"
    + _deep("<|tool_call_end|><|tool_calls_end|>"),
    "phi": '<|tool_call|>[{"name": "weather", "arguments": ' + PARIS + "}]<|/tool_call|>",
    "harmony": f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{PARIS}",
}
"""Answers with one: weather(PARIS)."""

ANNOUNCED = {"functionary": "all\n", "harmony": "<|channel|>final<|message|>"}
"""Marks before text."""
ALONE = {"llama", "harmony"}
"""Whose calls never follow text."""
AFTER_TEXT = {"functionary": ">>>"}
"""Marks before a first call only if there was text."""


def text(family: str, content: str) -> str:
    return ANNOUNCED.get(family, "") + content


def text_and_call(family: str, content: str) -> str:
    return text(family, content) + AFTER_TEXT.get(family, "") + ONE_CALL[family]
