"""The inputs of /v1/embeddings: OpenAI's four forms, and llama-server's, which mixes them.

    "text"   [1, 2]   [1, "text"]   {"prompt_string": ...}   {"content": [{"type": "text", ...}]}

are one input each, and a list of them is one of several; a list with a number in it is one input.
"""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, WithJsonSchema

from gateway.api.nested import Nested
from gateway.api.openai.parts import MEDIA
from gateway.api.token_ids import MAX_ID, TokenId
from gateway.core.errors import BadRequest, ContentNotSupported
from workers.protocol import Mixed, Prompt, Text, Tokens

MAX_INPUTS = 2048
"""Most inputs of one request, as in OpenAI's API."""

_Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
_Mixed = Annotated[list[TokenId | str], Field(min_length=1, fail_fast=True)]


class InputPart(Nested):
    """A part of an input."""

    type: str
    text: str | None = None
    image_url: Any = None
    input_audio: Any = None
    input_video: Any = None


class InputObject(Nested):
    """An input in llama-server's form: one of these."""

    prompt_string: str | _Mixed | None = None
    content: list[InputPart] | None = Field(None, min_length=1, max_length=MAX_INPUTS)

    def prompt(self, path: str, *, empty: bool) -> Prompt:
        """Raises BadRequest for what is no text."""
        given = self.prompt_string
        if (given is None) == (self.content is None):
            raise BadRequest(f"'{path}': give 'prompt_string' or 'content'", param=path)
        if self.content is None:
            assert given is not None
            return _prompt(given, path, empty=empty)
        texts = (_text(part, f"{path}.content.{at}") for at, part in enumerate(self.content))
        return Text("".join(texts))


def _text(part: InputPart, path: str) -> str:
    if part.type in MEDIA:
        kind = MEDIA[part.type]
        raise kind(f"'{path}': this model takes no {kind.things}", param=path)
    if part.type != "text" or part.text is None:
        raise ContentNotSupported(f"'{path}' should be a part of type 'text'", param=path)
    return part.text


def _form(value: Any) -> str | None:
    """The form of an input or of several, told by what a list holds; None if it is none."""
    if isinstance(value, list) and value and {type(each) for each in value} <= {str, list, dict}:
        return "inputs"
    return "inputs" if value == [] else _one_form(value)


def _one_form(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return (
            None if None in [value.get(name, "") for name in InputObject.model_fields] else "object"
        )
    if not isinstance(value, list):
        return None
    kinds = {type(each) for each in value}
    if kinds <= {int}:
        return "ids"
    return "mixed" if kinds <= {int, str} else None


_FORMS = (
    "a string, a list of token ids or of strings and token ids, an object with 'prompt_string' or "
    "'content', or a list of such inputs"
)
_SOME = {"type": "string", "minLength": 1}
_ANY = {"type": "string"}
_PART = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0, "maximum": MAX_ID}]}
_LIST = {"type": "array", "items": _PART, "minItems": 1}
_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}


def _schema(text: dict[str, Any]) -> WithJsonSchema:
    """Return the description of inputs; ``text`` is that of an input that is a text."""
    one = [
        text,
        _LIST,
        {
            "type": "object",
            "properties": {
                "prompt_string": {"anyOf": [text, _LIST]},
                "content": {"type": "array", "items": _TEXT_PART, "minItems": 1},
            },
            "oneOf": [{"required": ["prompt_string"]}, {"required": ["content"]}],
        },
    ]
    several = {"type": "array", "items": {"anyOf": one}, "minItems": 1, "maxItems": MAX_INPUTS}
    return WithJsonSchema({"anyOf": [*one, several]})


_One = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[_Ids, Tag("ids")]
    | Annotated[_Mixed, Tag("mixed")]
    | Annotated[InputObject, Tag("object")],
    Discriminator(
        _one_form,
        custom_error_type="not_an_input",
        custom_error_message=f"Input should be {_FORMS}",
    ),
]
_Inputs = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[_Ids, Tag("ids")]
    | Annotated[_Mixed, Tag("mixed")]
    | Annotated[InputObject, Tag("object")]
    | Annotated[
        list[_One], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True), Tag("inputs")
    ],
    Discriminator(
        _form,
        custom_error_type="not_an_input",
        custom_error_message=f"Input should be {_FORMS}",
    ),
]
Inputs = Annotated[_Inputs, _schema(_SOME)]
"""OpenAI's inputs, of which none may be an empty text."""
RawInputs = Annotated[_Inputs, _schema(_ANY)]
"""llama-server's: an empty text has a vector where the model's tokeniser adds tokens to it."""


def prompts(inputs: Any, *, empty: bool = False) -> tuple[Prompt, ...]:
    """Return the prompts of validated inputs.

    ``empty``: whether a text may be empty. Raises BadRequest for what is no text.
    """
    if not isinstance(inputs, list) or any(isinstance(part, int) for part in inputs):
        return (_prompt(inputs, "input", empty=empty),)
    return tuple(_prompt(each, f"input.{at}", empty=empty) for at, each in enumerate(inputs))


def _prompt(given: str | list[int | str] | InputObject, path: str, *, empty: bool) -> Prompt:
    if isinstance(given, InputObject):
        return given.prompt(path, empty=empty)
    if isinstance(given, str):
        if not given and not empty:
            raise BadRequest(f"'{path}': it should have at least 1 character", param=path)
        return Text(given)
    ids = [part for part in given if isinstance(part, int)]
    return Tokens(ids) if len(ids) == len(given) else Mixed(given)
