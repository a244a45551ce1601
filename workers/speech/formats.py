"""The formats of the well-known families, and which one a chat template is written for. Pure.

A family is recognised by what its template's source writes around calls. Whoever is not recognised,
or brings a template that knows no tools, is told of them in the system message.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from workers.protocol import ToolUse
from workers.speech.generic import Told
from workers.speech.grammar import call_rules
from workers.speech.history import Message, Native, Tools
from workers.speech.layout import Layout
from workers.speech.parser import CallParser
from workers.speech.thoughts import Thoughts


@dataclass(frozen=True)
class CallFormat:
    """How a model makes calls, and how its template reads them."""

    name: str
    layout: Layout
    history: Native | Told

    def adapt(
        self, messages: list[Message], use: ToolUse | None
    ) -> tuple[list[Message], Tools | None]:
        """Messages and tools as the template reads them.

        ``messages`` are OpenAI's: content is text or None, a call's arguments are JSON. A model
        that may call nothing is shown no tools, yet sees earlier calls and their results.
        """
        adapted, tools = self.history.adapt(messages, use)
        return adapted, tools or None

    def grammar(
        self, use: ToolUse, content: str, special: Callable[[str], str], *, free: bool = True
    ) -> str:
        """Rules of a Lark grammar in llguidance's dialect; they define ``answer``.

        The others' names begin with ``call_``. ``content`` is the name of the rule for an answer
        that is text. ``free``: that rule takes any text, so calls may follow some; otherwise an
        answer is one or the other. ``special`` gives how the grammar writes a control token
        (``<[id]>``), or the quoted text if that is none: a token whose bytes are plain text to
        llguidance is no control token here.
        """
        return call_rules(self.layout, use, content, special, free=free)

    def parser(self, use: ToolUse | None) -> CallParser:
        """For one answer. Without functions to call, all is content."""
        return CallParser(self.layout, use.callable if use else [])


@dataclass(frozen=True)
class Speech:
    """What a template tells of its model's habits."""

    calls: CallFormat
    thoughts: Thoughts | None
    preserved: tuple[str, ...]
    """Texts that have to be seen in the output, even if they are control tokens."""


_HERMES = Layout(
    first=('<tool_call>\n{"name": "',),
    inside='<tool_call>\n{"name": "',
    opening="<tool_call>",
    middle='", "arguments": ',
    after="}\n</tool_call>",
    again='\n<tool_call>\n{"name": "',
    controls=("<tool_call>", "</tool_call>"),
)
_LLAMA3 = Layout(
    first=('{"name": "', '<|python_tag|>{"name": "'),
    inside=None,
    opening='{"name": "',
    middle='", "parameters": ',
    after="}",
    controls=("<|python_tag|>",),
)


def _list(opening: str, space: str = "", end: str = "") -> Layout:
    """Calls in a JSON array behind a mark."""
    return Layout(
        first=(f'{opening}{space}[{{"name": "',),
        inside=f'{opening}{space}[{{"name": "',
        opening=opening,
        middle='", "arguments": ',
        after="}",
        again=', {"name": "',
        end=f"]{end}",
        controls=(opening, end) if end else (opening,),
    )


_MISTRAL_ARGS = Layout(
    first=("[TOOL_CALLS]",),
    inside="[TOOL_CALLS]",
    opening="[TOOL_CALLS]",
    middle="[ARGS]",
    after="",
    again="[TOOL_CALLS]",
    controls=("[TOOL_CALLS]", "[ARGS]"),
)
_FUNCTION_TAG = Layout(
    first=("<function=",),
    inside="<function=",
    opening="<function=",
    middle=">",
    after="</function>",
    again="<function=",
)
_RECIPIENT = Layout(
    first=("",),  # the prompt ends with >>>
    inside=">>>",
    opening=None,  # >>> is Python's prompt as well
    middle="\n",
    after="",
    again=">>>",
    says=("all\n",),
)
_DEEPSEEK_BEGIN = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"
_DEEPSEEK = Layout(
    first=(_DEEPSEEK_BEGIN,),
    inside=_DEEPSEEK_BEGIN,
    opening="<｜tool▁calls▁begin｜>",
    middle="<｜tool▁sep｜>",
    after="<｜tool▁call▁end｜>",
    again="<｜tool▁call▁begin｜>",
    end="<｜tool▁calls▁end｜>",
    controls=(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
)
_DEEPSEEK_FENCED = replace(
    _DEEPSEEK,
    first=(_DEEPSEEK_BEGIN + "function<｜tool▁sep｜>",),
    inside=_DEEPSEEK_BEGIN + "function<｜tool▁sep｜>",
    middle="\n```json\n",
    after="\n```<｜tool▁call▁end｜>",
    again="\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
)
_CHANNEL = "<|channel|>commentary to=functions."
_FINAL = "<|channel|>final<|message|>"
_TURN = "<|start|>assistant"
_HARMONY = Layout(
    first=(_CHANNEL, _TURN + _CHANNEL),
    inside=None,
    opening="<|channel|>",
    middle=" <|constrain|>json<|message|>",
    after="",
    says=(_FINAL, _TURN + _FINAL),
    controls=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>"),
)
_HARMONY_THOUGHTS = Thoughts("<|channel|>analysis<|message|>", "<|end|>")

_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
)


def detect(template: str | None) -> Speech:
    """What the source of a chat template tells; None: the model has none."""
    source = re.sub(r"\{#.*?#\}", "", template or "", flags=re.DOTALL)
    calls = _native(source) or _generic(source)
    thoughts = _thoughts(source)
    tags = (thoughts.opening, thoughts.closing) if thoughts else ()
    marks = calls.layout.controls
    return Speech(calls, thoughts, tuple(dict.fromkeys([*marks, *(t for t in tags if t)])))


def starts_thinking(speech: Speech, prompt: str) -> bool:
    """Whether a rendered prompt ends inside an open thought, which templates begin with the tag."""
    return speech.thoughts is not None and prompt.rstrip().endswith(speech.thoughts.opening)


def _thoughts(source: str) -> Thoughts | None:
    if _is_harmony(source):
        return _HARMONY_THOUGHTS
    return next((Thoughts(*tags) for tags in _TAGS if any(tag in source for tag in tags)), None)


def _is_harmony(source: str) -> bool:
    return "<|channel|>" in source and "analysis" in source


def _generic(source: str) -> CallFormat:
    # Harmony's channels are there whether or not the template knows tools.
    told = bool(re.search("system", source)) and not re.search(
        r"[Ss]ystem (role|messages?) (is |are )?not supported", source
    )
    return CallFormat("generic", _HERMES, Told(_HERMES, system_role=told or not source))


def _native(source: str) -> CallFormat | None:
    """The family of a template that knows tools, calls and results, if it is one of ours."""
    role = re.search(r"""["'](tool|ipython)["']""", source)
    if role is None or not re.search(r"\btools\b", source):
        return None
    found = _family(source)
    if found is None:
        return None
    name, layout, history = found
    return CallFormat(name, layout, replace(history, **_habits(source)))


def _habits(source: str) -> dict[str, Any]:
    """What templates of one family do differently."""
    piped = re.search(
        r"(arguments|function|tool_calls?)(['\"]\])?\s*\)?\s*\|\s*(tojson|items)", source
    )
    either = re.search(r"arguments(['\"]\])?\s+is\s+(not\s+)?(string|mapping)", source)
    habits: dict[str, Any] = {"objects": bool(piped or either)}
    if not re.search(r"""["']tool["']""", source):
        habits["result_role"] = "ipython"
    return habits


def _family(source: str) -> tuple[str, Layout, Native] | None:
    if _is_harmony(source):
        return "harmony", _HARMONY, Native(single=True)
    if "<｜tool▁calls▁begin｜>" in source:
        # Its first templates look for calls only where the content is none.
        none = bool(re.search(r"content['\"\]]*\s+is\s+none", source))
        native = Native(no_text=None if none else "", text_apart=none)
        return "deepseek", _DEEPSEEK_FENCED if "```json" in source else _DEEPSEEK, native
    if "[TOOL_CALLS]" in source:
        native = Native(short_ids=True)
        if "[ARGS]" in source:
            return "mistral-args", _MISTRAL_ARGS, native
        return "mistral", _list("[TOOL_CALLS]", " " if "[TOOL_CALLS] [" in source else ""), native
    if re.search(r"<parameter=|<arg_key>", source):
        return None  # arguments as XML
    if ">>>" in source and re.search(r"all(\\n|\n)", source):
        return "functionary", _RECIPIENT, Native()
    if "<function=" in source and "</function>" in source:
        return "function-tag", _FUNCTION_TAG, Native()
    if "<|tool_call|>" in source and "<|/tool_call|>" in source:
        return "phi", _list("<|tool_call|>", end="<|/tool_call|>"), Native()
    if "<tool_call>" in source and re.search(r'arguments\\?"', source):
        return "hermes", _HERMES, Native()
    if re.search(r'parameters\\?"', source) and re.search(r"<\|python_tag\|>|ipython", source):
        return "llama3", _LLAMA3, Native(single=True)
    return None
