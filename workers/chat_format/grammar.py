"""The grammar that binds a model to valid calls. Pure: it is text, for llguidance to compile."""

import json
from collections.abc import Callable
from typing import Any

from workers.chat_format.lark import FREE, is_token, literal, quoted, until
from workers.chat_format.layout import Layout, in_json
from workers.json_schema import Judge, Unenforceable, enforceable
from workers.protocol import ToolUse

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as templates write it (Python's way), so as models have read it."""


TEXT_HEAD, TEXT_END = '{"input": "', '"}'
"""The only argument of a function whose text follows a grammar, around that."""


def text_rule(index: int) -> str:
    """Return the name of the grammar of such a text: that of the function of this index."""
    return f"text_of_call_{index}"


def call_rules(
    layout: Layout,
    use: ToolUse,
    content: str,
    special: Callable[[str], str],
    *,
    free: bool,
    judge: Judge | None = None,
) -> str:
    """Rules that define ``answer``; the others begin with ``call_``. See CallFormat.grammar."""
    if not use.callable:
        return f"answer: {_sayings(layout, special)}{content}\n"
    return _Rules(layout, use, special, judge).answer(content, free=free)


def arguments_schema(function: dict[str, Any], judge: Judge | None = None) -> dict[str, Any]:
    """The schema of a function's arguments, which are an object, written with SPACING.

    A function without ``parameters`` takes none. What can't be enforced is left to the model,
    unless the function is declared as ``strict``: then it is an
    :class:`workers.json_schema.Unenforceable`.
    """
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"properties": {}}
    schema = {**parameters, "type": "object"}
    schema = enforceable(schema, strict=bool(function.get("strict")), judge=judge)
    return {"type": "object", **schema, "x-guidance": SPACING}


def _sayings(layout: Layout, special: Callable[[str], str]) -> str:
    """The mark that announces text, with a space behind it; or nothing."""
    ways = [literal(says, layout.controls, special) for says in layout.says]
    return f"({' | '.join(ways)}) " if ways else ""


class _Rules:
    def __init__(
        self, layout: Layout, use: ToolUse, special: Callable[[str], str], judge: Judge | None
    ) -> None:
        self._layout = layout
        self._use = use
        self._special = special
        self._judge = judge
        self._rules: list[str] = []

    def answer(self, content: str, *, free: bool) -> str:
        ways = self._bound() if self._use.required else self._ways(free=free)
        says = _sayings(self._layout, self._special)
        text = [] if self._use.required else [says + content]
        more = ""
        if self._use.parallel and self._layout.again is not None:
            more = f" {self._add('call_next', self._calls(self._layout.again))}*"
        end = self._literal(self._layout.end)
        section = self._add("call_section", f"({' | '.join(ways)}){more} {end}".rstrip())
        self._in_thought(f"{more} {end}".rstrip())
        return (
            f"answer: {' | '.join([*text, section])}\n" + "".join(self._rules) + self._arguments()
        )

    def _in_thought(self, rest: str) -> None:
        """Define ``call_in_thought``: a thought that no tag ends, but a call. ``rest`` follows."""
        layout = self._layout
        if not layout.ends_thoughts:
            return
        assert layout.inside is not None
        assert layout.opening is not None
        if is_token(self._literal(layout.opening)):
            calls = self._calls(layout.inside)
            self._rules.append(f"call_in_thought: {FREE} ({calls}){rest}\n")
            return
        self._rules.append(until("call_thought_text", layout.inside, self._special))
        self._rules.append(f"call_in_thought: call_thought_text ({self._calls('')}){rest}\n")

    def _ways(self, *, free: bool) -> list[str]:
        """Return the beginning of a call where there might be text instead."""
        if not free:
            # The content may be an object itself, and then the two could not be told apart.
            return self._bound([way for way in self._layout.first if not way.startswith("{")])
        if self._layout.says:
            return [*self._bound(), *self._after_text()]
        first = [f for f in self._firsts() if f != self._layout.inside]
        return [*map(self._opened, first), *self._after_text()]

    def _bound(self, first: list[str] | None = None) -> list[str]:
        """Calls alone, so nothing else competes with their first characters."""
        return [f"({self._calls(prefix)})" for prefix in first or self._firsts()]

    def _firsts(self) -> list[str]:
        """Without those that need a control token which the vocabulary lacks."""
        usual, *others = self._layout.first
        return [usual, *filter(self._begins_with_token, others)]

    def _opened(self, prefix: str) -> str:
        """A call at the beginning of the answer, where text would be allowed too."""
        opening = self._layout.opening
        if opening is None or not prefix.startswith(opening) or self._begins_with_token(prefix):
            return f"({self._calls(prefix)})"
        head = self._add("call_opening[lazy]", quoted(opening))
        return f"{head} ({self._calls(prefix.removeprefix(opening))})"

    def _after_text(self) -> list[str]:
        """Calls after any text, which may be empty."""
        layout = self._layout
        if layout.inside is None:
            return []
        says = _sayings(layout, self._special)
        if layout.opening is None:
            ways = []
            for index, name in enumerate(self._use.callable):
                head = layout.inside + in_json(name) + layout.middle
                self._rules.append(until(f"call_text_{index}", head, self._special))
                after = self._literal(layout.after)
                ways.append(f"{says}call_text_{index} call_arguments_{index} {after}".rstrip())
            return ways
        self._rules.append(until("call_text", layout.opening, self._special))
        rest = layout.inside.removeprefix(layout.opening)
        return [f"{says}call_text ({self._calls(rest)})"]

    def _calls(self, prefix: str) -> str:
        """One call of any of the functions, after this prefix."""
        layout = self._layout
        after = self._literal(layout.after)
        heads = layout.heads([prefix], self._use.callable)
        return " | ".join(
            f"{self._literal(head)} call_arguments_{index} {after}".rstrip()
            for index, head in enumerate(heads)
        )

    def _arguments(self) -> str:
        places = {tool["function"]["name"]: at for at, tool in enumerate(self._use.tools)}
        return "".join(
            f"call_arguments_{index}: {self._argument(index, name, places[name])}\n"
            for index, name in enumerate(self._use.callable)
        )

    def _argument(self, index: int, name: str, at: int) -> str:
        if name not in self._use.grammars:
            return f"%json {json.dumps(self._schema(at))}"
        return f"{quoted(TEXT_HEAD)} @{text_rule(index)} {quoted(TEXT_END)}"

    def _schema(self, at: int) -> dict[str, Any]:
        try:
            return arguments_schema(self._use.tools[at]["function"], self._judge)
        except Unenforceable as error:
            raise error.within("tools", str(at), "function", "parameters") from error

    def _add(self, name: str, body: str) -> str:
        self._rules.append(f"{name}: {body}\n")
        return name.partition("[")[0]

    def _literal(self, text: str) -> str:
        return literal(text, self._layout.controls, self._special)

    def _begins_with_token(self, prefix: str) -> bool:
        return any(
            prefix.startswith(control) and is_token(self._special(control))
            for control in self._layout.controls
        )
