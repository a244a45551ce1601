"""The forms of a prompt that llama-server takes: texts, token ids, both in turn, and lists of all.

    "text"                        one prompt
    [1, 2, 3]                     one prompt of token ids
    [1, 2, "text", 3]             one prompt of both
    ["text", [1, 2], [1, "a"]]    a prompt each
    {"prompt_string": ...}        one of the first three, as it stands beside images

A list is one prompt if any number is in it.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from gateway.api.samplers import problem
from gateway.api.token_ids import MAX_ID
from gateway.core.validation import shown
from workers.protocol import Mixed, Prompt, Text, Tokens

MAX_PROMPTS = 256
"""Most prompts of one request."""
STRING, MEDIA = "prompt_string", "multimodal_data"
"""The fields of a prompt that is an object."""


def _prompts(value: Any) -> list[Prompt]:
    if not isinstance(value, list) or any(type(part) is int for part in value):
        return [_prompt(value)]
    if not value:
        raise problem("it should not be empty")
    if len(value) > MAX_PROMPTS:
        raise problem(f"there may be {MAX_PROMPTS} prompts at most")
    return [_prompt(each) for each in value]


def _prompt(value: Any) -> Prompt:
    if isinstance(value, dict):
        if value.get(MEDIA):
            raise problem(f"'{MEDIA}' is not supported by this server: it takes text alone")
        value = value.get(STRING)
    if isinstance(value, str):
        return Text(value)
    if not isinstance(value, list):
        raise problem(
            "a prompt should be a string, an array of token ids or of both in turn, or an object "
            f"with one of these as '{STRING}', not {shown(value)}"
        )
    for part in value:
        if not isinstance(part, str) and not (type(part) is int and 0 <= part <= MAX_ID):
            raise problem(f"in a prompt there should be texts and token ids, not {shown(part)}")
    if all(isinstance(part, int) for part in value):
        return Tokens(value)
    return Mixed(value)


_PART = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0, "maximum": MAX_ID}]}
_PLAIN = [{"type": "string"}, {"type": "array", "items": _PART}]
_OBJECT = {
    "type": "object",
    "properties": {STRING: {"anyOf": _PLAIN}},
    "required": [STRING],
}
Prompts = Annotated[
    list[Any],
    BeforeValidator(_prompts),
    WithJsonSchema(
        {
            "anyOf": [
                *_PLAIN,
                _OBJECT,
                {"type": "array", "items": {"anyOf": [*_PLAIN, _OBJECT]}, "maxItems": MAX_PROMPTS},
            ]
        }
    ),
]
"""Prompts of the protocol, made of any of the forms."""
