"""The texts that well-known families of models write around their calls. Pure: values of Layout."""

from dataclasses import replace

from workers.chat_format.layout import Layout

HERMES = Layout(
    first=('<tool_call>\n{"name": "',),
    inside='<tool_call>\n{"name": "',
    opening="<tool_call>",
    middle='", "arguments": ',
    after="}\n</tool_call>",
    again='\n<tool_call>\n{"name": "',
    controls=("<tool_call>", "</tool_call>"),
)
LLAMA3 = Layout(
    first=('{"name": "', '<|python_tag|>{"name": "'),
    inside=None,
    opening='{"name": "',
    middle='", "parameters": ',
    after="}",
    controls=("<|python_tag|>",),
)


def array(opening: str, space: str = "", end: str = "") -> Layout:
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


MISTRAL_ARGS = Layout(
    first=("[TOOL_CALLS]",),
    inside="[TOOL_CALLS]",
    opening="[TOOL_CALLS]",
    middle="[ARGS]",
    after="",
    again="[TOOL_CALLS]",
    controls=("[TOOL_CALLS]", "[ARGS]"),
)
FUNCTOOLS = Layout(
    first=('functools[{"name": "',),
    inside='functools[{"name": "',
    opening="functools[",  # Python has a module of that name
    middle='", "arguments": ',
    after="}",
    again=', {"name": "',
    end="]",
)
FUNCTION_TAG = Layout(
    first=("<function=",),
    inside="<function=",
    opening="<function=",
    middle=">",
    after="</function>",
    again="<function=",
)
RECIPIENT = Layout(
    first=("",),  # the prompt ends with >>>
    inside=">>>",
    opening=None,  # >>> is Python's prompt as well
    middle="\n",
    after="",
    again=">>>",
    says=("all\n",),
)


def _mark(words: str) -> str:
    """A control token of DeepSeek's: with a wide bar and a sentencepiece space."""
    return "<\uff5c" + words.replace(" ", "\u2581") + "\uff5c>"


CALLS, _CALLS_END = _mark("tool calls begin"), _mark("tool calls end")
_CALL, _CALL_END = _mark("tool call begin"), _mark("tool call end")
_SEP = _mark("tool sep")
DEEPSEEK = Layout(
    first=(CALLS + _CALL,),
    inside=CALLS + _CALL,
    opening=CALLS,
    middle=_SEP,
    after=_CALL_END,
    again=_CALL,
    end=_CALLS_END,
    controls=(CALLS, _CALL, _SEP, _CALL_END, _CALLS_END),
)
_TYPED = _CALL + "function" + _SEP
DEEPSEEK_FENCED = replace(
    DEEPSEEK,
    first=(CALLS + _TYPED,),
    inside=CALLS + _TYPED,
    middle="\n```json\n",
    after="\n```" + _CALL_END,
    again="\n" + _TYPED,
)
_CHANNEL = "<|channel|>commentary to=functions."
_FINAL = "<|channel|>final<|message|>"
_TURN = "<|start|>assistant"
HARMONY = Layout(
    first=(_CHANNEL, _TURN + _CHANNEL),
    inside=None,
    opening="<|channel|>",
    middle=" <|constrain|>json<|message|>",
    after="",
    says=(_FINAL, _TURN + _FINAL),
    controls=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>"),
)
