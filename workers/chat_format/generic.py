"""Tools for models whose template knows none: told in the system message. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from workers.chat_format.history import Message, as_json, call_names, plain
from workers.chat_format.layout import Layout
from workers.protocol import ToolUse

_TOOLS = """\
You have these tools, each of them with a JSON schema of its arguments:
{tools}

To use a tool, answer with
{call}
and the tool's result comes in <tool_response>."""
_SEVERAL = " You may use several, one after the other, in one answer."
_REQUIRED = " Use a tool now."
_NAME = "NAME"


@dataclass(frozen=True)
class PromptedTools:
    """Calls and results become plain turns, which every template has."""

    layout: Layout

    def adapt(self, messages: list[Message], use: ToolUse | None) -> tuple[list[Message], None]:
        """Messages of plain text; the template hears of no tools."""
        names = call_names(messages)
        turns: list[tuple[Message, list[str]]] = []
        results = False
        for message in messages:
            if calls := message.get("tool_calls"):
                turns.append(({"role": message["role"]}, [self._calls(message, calls)]))
                results = False
                continue
            is_result = message["role"] == "tool"
            text = self._result(message, names) if is_result else plain(message)["content"]
            role = "user" if is_result else message["role"]
            # Templates may insist that roles alternate, and results are the user's turn now.
            if results and role == "user":
                turns[-1][1].append(text)
            else:
                turns.append(({**plain(message), "role": role}, [text]))
            results = is_result
        plain_turns = [{**turn, "content": "\n".join(texts)} for turn, texts in turns]
        if use is not None and use.callable:
            plain_turns = self._with_tools(plain_turns, use)
        return plain_turns, None

    def _calls(self, message: Message, calls: list[dict[str, Any]]) -> str:
        made = [
            (call["function"]["name"], as_json(call["function"]["arguments"])) for call in calls
        ]
        text = message.get("content") or ""
        return f"{text}\n{self.layout.written(made)}" if text else self.layout.written(made)

    def _result(self, message: Message, names: dict[str, str]) -> str:
        name = message.get("name") or names.get(message.get("tool_call_id", ""))
        tag = f"<tool_response name={json.dumps(name)}>" if name else "<tool_response>"
        return f"{tag}\n{plain(message)['content']}\n</tool_response>"

    def _with_tools(self, turns: list[Message], use: ToolUse) -> list[Message]:
        functions = [json.dumps(tool["function"], ensure_ascii=False) for tool in use.tools]
        call = self.layout.written([(_NAME, "{...}")])
        told = _TOOLS.format(tools="\n".join(functions), call=call)
        told += (_SEVERAL if use.parallel else "") + (_REQUIRED if use.required else "")
        if turns and turns[0]["role"] in ("system", "developer"):
            return [{**turns[0], "content": f"{turns[0]['content']}\n\n{told}"}, *turns[1:]]
        return [{"role": "system", "content": told}, *turns]
