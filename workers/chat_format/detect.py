"""The family that a chat template is written for. Pure.

A family is recognised by what its template's source writes around calls. A family that is not
recognised, or brings a template that knows no tools, is told of them in the system message.
"""

import re
from dataclasses import replace
from typing import Any

from workers.chat_format.families import (
    CALLS,
    DEEPSEEK,
    DEEPSEEK_FENCED,
    FUNCTION_TAG,
    FUNCTOOLS,
    HARMONY,
    HERMES,
    LLAMA3,
    MISTRAL_ARGS,
    RECIPIENT,
    array,
)
from workers.chat_format.formats import CallFormat, ChatFormat
from workers.chat_format.generic import PromptedTools
from workers.chat_format.history import TemplateTools
from workers.chat_format.layout import Layout
from workers.chat_format.template_quirks import template_quirks
from workers.chat_format.thoughts import Thoughts

_HARMONY_THOUGHTS = Thoughts("<|channel|>analysis<|message|>", "<|end|>")
_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought\n", "<channel|>"),
)


def detect(template: str | None) -> ChatFormat:
    """Read the habits from the source of a chat template; None: the model has none."""
    source = re.sub(r"\{#.*?#\}", "", template or "", flags=re.DOTALL)
    calls = _native(source) or _generic(source)
    thoughts = _thoughts(source)
    tags = thoughts.marks if thoughts else []
    marks = calls.layout.controls
    return ChatFormat(calls, thoughts, tuple(dict.fromkeys([*marks, *tags])))


def starts_thinking(chat_format: ChatFormat, prompt: str) -> bool:
    """True if a rendered prompt ends inside an open thought, which templates begin with the tag."""
    return chat_format.thoughts is not None and prompt.rstrip().endswith(
        chat_format.thoughts.opening.rstrip()
    )


def _thoughts(source: str) -> Thoughts | None:
    if _is_harmony(source):
        return _HARMONY_THOUGHTS
    for tags in _TAGS:
        if any(tag.rstrip() in source for tag in tags):
            return Thoughts(*tags, space=_space(source, *tags))
    return None


def _space(source: str, opening: str, closing: str) -> tuple[str, str]:
    """Return the white space that a template writes before and after the end of a thought.

    It is read where the template writes an earlier thought. One that only cuts them off, and begins
    a thought with a line, gets the lines that all others have.
    """
    line = r"\\n"
    found = re.findall(f"((?:{line})*){re.escape(closing)}((?:{line})*)", source)
    before = min((run for run, _ in found if run), key=len, default="")
    after = max((run for _, run in found), key=len, default="")
    if not (before or after) and re.search(re.escape(opening) + line, source):
        before, after = r"\n", r"\n\n"
    return before.replace(r"\n", "\n"), after.replace(r"\n", "\n")


def _is_harmony(source: str) -> bool:
    return "<|channel|>" in source and "analysis" in source


def _generic(source: str) -> CallFormat:
    return CallFormat("generic", HERMES, PromptedTools(HERMES), template_quirks(source))


def _native(source: str) -> CallFormat | None:
    """The family of a template that knows tools, calls and results, if it is one of ours."""
    role = re.search(r"""["'](tool|ipython)["']""", source)
    if role is None or not re.search(r"\btools\b|functools\[", source):
        return None
    found = _family(source)
    if found is None:
        return None
    name, layout, history = found
    return CallFormat(name, layout, replace(history, **_habits(source)), template_quirks(source))


def _habits(source: str) -> dict[str, Any]:
    """The differences between templates of one family."""
    piped = re.search(
        r"(arguments|calls?|call(\.|\[['\"])function)(['\"]\])?\s*\)?\s*\|\s*(tojson|items)", source
    )
    # {% set arguments = ... %}, and that is piped
    name = re.search(r"set\s+(\w+)\s*=[^%]*arguments['\"\]]*\s*-?%}", source)
    renamed = name and re.search(rf"\b{name[1]}\s*\|\s*(tojson|items)", source)
    either = re.search(r"arguments(['\"]\])?\s+is\s+(not\s+)?(string|mapping)", source)
    habits: dict[str, Any] = {"objects": bool(piped or renamed or either)}
    if not re.search(r"""["']tool["']""", source):
        habits["result_role"] = "ipython"
    return habits


def _family(source: str) -> tuple[str, Layout, TemplateTools] | None:
    if _is_harmony(source):
        return "harmony", HARMONY, TemplateTools(single=True)
    if CALLS in source:
        # Its first templates look for calls only where the content is none.
        none = bool(re.search(r"content['\"\]]*\s+is\s+none", source))
        native = TemplateTools(no_text=None if none else "", text_apart=none)
        return "deepseek", DEEPSEEK_FENCED if "```json" in source else DEEPSEEK, native
    if "[TOOL_CALLS]" in source:
        native = TemplateTools(short_ids=True)
        if "[ARGS]" in source:
            return "mistral-args", MISTRAL_ARGS, native
        return "mistral", array("[TOOL_CALLS]", " " if "[TOOL_CALLS] [" in source else ""), native
    if "functools[" in source:
        return "firefunction", FUNCTOOLS, TemplateTools()
    if re.search(r"<parameter=|<arg_key>", source):
        return None  # arguments as XML
    if ">>>" in source and re.search(r"all(\\n|\n)", source):
        return "functionary", RECIPIENT, TemplateTools()
    if "<function=" in source and "</function>" in source:
        return "function-tag", FUNCTION_TAG, TemplateTools()
    if "<|tool_call|>" in source and "<|/tool_call|>" in source:
        return "phi", array("<|tool_call|>", end="<|/tool_call|>"), TemplateTools()
    if "<tool_call>" in source and re.search(r'arguments\\?"', source):
        return "hermes", HERMES, TemplateTools()
    if re.search(r'parameters\\?"', source) and re.search(r"<\|python_tag\|>|ipython", source):
        return "llama3", LLAMA3, TemplateTools(single=True)
    return None
