"""The body of /v1/responses, and what it says about the answer.

Unlike in other dialects, much that is not served is taken and left: agents send whatever the newest
server of OpenAI's knows, and a 400 would end them.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.api.body import SamplingBody, unlimited
from gateway.api.field_table import RESPONSES
from gateway.api.nested import Extensible, Nested
from gateway.api.openai.common import StreamOptions
from gateway.api.other_names import (
    MAX_TOKENS,
    effort_arguments,
)
from gateway.api.responses.growing_items import Wishes
from gateway.api.responses.tools import Choice, Declarations
from gateway.api.schemas import Json, Schema, constraint
from gateway.core.errors import BadRequest
from workers.protocol import Constraint, JsonSchema

MAX_ITEMS = 100_000
MAX_INCLUDED = 64
MAX_METADATA = 16
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SEALED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
Id = Annotated[str, Field(min_length=1, max_length=256)]


class InputItem(Extensible):
    """A message, a thought, a call, its result, or what another server left: see the guide."""

    type: str | None = None
    """The kind; a message may leave it out."""
    role: str | None = None
    content: Any = None
    """A text, or a list of parts."""


Items = Annotated[list[InputItem], Field(max_length=MAX_ITEMS, fail_fast=True)]


class PlainFormat(Extensible):
    type: Literal["text"]


class ObjectFormat(Extensible):
    type: Literal["json_object"]


class SchemaTextFormat(Extensible):
    type: Literal["json_schema"]
    name: str | None = None
    json_schema: Schema = Field(alias="schema")
    strict: bool | None = None
    """False: what of the schema can't be enforced is left to the model."""


class TextOptions(Nested):
    place = "text"

    format: (
        Annotated[PlainFormat | ObjectFormat | SchemaTextFormat, Field(discriminator="type")] | None
    ) = None
    """Format that the answer must have."""
    verbosity: str | None = None
    """Taken and left: no template reads it."""


class ReasoningOptions(Nested):
    place = "responses.reasoning"

    effort: str | None = None
    """For templates that know one; `none`: do not think."""
    summary: str | None = None
    """Given: thoughts come as a summary, which user interfaces show. It is the whole thought."""
    generate_summary: str | None = None
    """The older name."""


class ConversationId(Extensible):
    id: Id


def _few(value: Any) -> Any:
    """Raises PydanticCustomError for too many entries, each of which would be an error."""
    if isinstance(value, dict) and len(value) > MAX_METADATA:
        raise PydanticCustomError("too_long", f"it may have {MAX_METADATA} entries at most")
    return value


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=MAX_METADATA),
    BeforeValidator(_few),
]


class InputBody(SamplingBody):
    """Fields that make the prompt."""

    place = RESPONSES
    open_ended: ClassVar[bool] = True
    """True: unknown fields are ignored whatever the operator says, for agents would not start."""

    model: str | None = None
    """The model's id; the first one if none is named."""
    input: str | Items | None = None
    """The news of the conversation: a text of the user, or items."""
    instructions: str | Items | None = None
    """The first system message. It is not carried over to the next response."""
    tools: Declarations | None = None
    """Functions, custom tools and namespaces of them; other kinds are left out and named."""
    tool_choice: Choice | None = None
    """Choice of the model: call one or none, call any, or call a certain one."""
    parallel_tool_calls: bool | None = None
    """False: one call at most. Default true."""
    previous_response_id: Id | None = None
    """The conversation goes on after this stored response."""
    conversation: Id | ConversationId | None = None
    """The stored conversation that goes on, and gets the items of this response."""
    reasoning: ReasoningOptions | None = None
    """Effort of the model's thinking, and the way its thoughts are told."""
    text: TextOptions | None = None
    """The form of the answer."""
    truncation: Literal["auto", "disabled"] | None = None
    """auto: the oldest turns are left out if the conversation is too long for the model."""
    chat_template_kwargs: Json | None = None
    """More variables for the model's template, as in llama-server and vLLM."""

    @property
    def conversation_id(self) -> str | None:
        given = self.conversation
        return given.id if isinstance(given, ConversationId) else given

    def check(self) -> None:
        """Raises BadRequest for fields that contradict each other."""
        if self.previous_response_id is not None and self.conversation is not None:
            message = "give either 'conversation' or 'previous_response_id', not both"
            raise BadRequest(message, param="previous_response_id")

    def template_arguments(self) -> dict[str, Any]:
        """Return what the template is told."""
        effort = None if self.reasoning is None else self.reasoning.effort
        known: dict[str, Any] = effort_arguments(effort) if effort in EFFORTS else {}  # type: ignore[arg-type]
        return {**known, **(self.chat_template_kwargs or {})}


class ResponseBody(InputBody):
    max_output_tokens: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """The most tokens of the answer, thoughts included. Default, and -1: what the context holds."""
    stream: bool | None = None
    """True: the answer comes as server-sent events."""
    stream_options: StreamOptions | None = None
    """Taken and left: nothing is added to a stream."""
    store: bool | None = None
    """False: nothing is kept of it. Default true, in memory, as long as there is room."""
    background: bool | None = None
    """True: the answer comes at once, and the work is done behind it, at batch priority."""
    include: Annotated[list[str], Field(max_length=MAX_INCLUDED, fail_fast=True)] | None = None
    """More parts of the answer; those of tools that are not served here are left out."""
    top_logprobs: int | None = Field(None, ge=0, le=20)
    """Number of alternatives of each token to tell."""
    metadata: Metadata | None = None
    """Told again with the response."""
    service_tier: str | None = None
    """A priority in OpenAI's words: flex is batch, priority urgent."""
    max_tool_calls: int | None = None
    """Of tools that are not served here: told again."""
    safety_identifier: str | None = None
    """A name only, told again."""
    user: str | None = None
    """A name only, told again."""

    def check(self) -> None:
        super().check()
        if self.background and self.store is False:
            message = "'background' can only be used where 'store' is true"
            raise BadRequest(message, param="background")

    def limit(self) -> int | None:
        newer, older = self.max_output_tokens, self.max_tokens
        if newer is not None and older is not None and newer != older:
            message = "give either 'max_output_tokens' or 'max_tokens', not both"
            raise BadRequest(message, param="max_tokens")
        return unlimited(older if newer is None else newer)

    def alternatives(self) -> int | None:
        """Return the number of alternatives of each token to tell with probabilities, if any."""
        if self.top_logprobs or LOGPROBS in (self.include or ()):
            return self.top_logprobs or 0
        return None

    def wishes(self) -> Wishes:
        thoughts = self.reasoning or ReasoningOptions()
        return Wishes(
            summary=thoughts.summary is not None or thoughts.generate_summary is not None,
            sealed=SEALED in (self.include or ()),
            logprobs=self.alternatives() is not None,
        )

    def constraint(self) -> Constraint | None:
        """Return the form of the answer. Raises BadRequest if two are asked for."""
        asked = self.asked()
        given = None if self.text is None else self.text.format
        param = "text.format"
        if isinstance(given, ObjectFormat):
            asked[param] = JsonSchema({"type": "object"}, param=param)
        elif isinstance(given, SchemaTextFormat):
            strict = given.strict is not False
            asked[param] = JsonSchema(given.json_schema, strict, param, ("schema",))
        return constraint(None, self.json_schema, self.grammar, asked)
