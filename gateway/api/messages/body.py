"""The bodies of the dialect, as clients write them.

Clients of Anthropic's add fields with every release, so all objects take more than is known, and
what is in the conversation is read as well as it can be.
"""

from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo

from gateway.api.body import SamplingBody, unlimited
from gateway.api.body_context import ignored_fields, senses
from gateway.api.field_policy import IgnoredFields
from gateway.api.field_table import COUNT_TOKENS, MESSAGES_API
from gateway.api.messages.history import GivenBlock, GivenMessage, read, system_text
from gateway.api.messages.tools import GivenTool, ToolChoice, chosen
from gateway.api.nested import Extensible
from gateway.api.other_names import MAX_TOKENS, Effort, effort_arguments
from gateway.api.schemas import Json, Schema, constraint
from gateway.conversation import rendered
from gateway.core.strict import STRICT
from workers.protocol import Chat, Constraint, JsonSchema

STRONGEST = ("xhigh", "max")
"""Efforts above what templates know."""

StopSequence = Annotated[str, Field(min_length=1, max_length=1024)]


def _rendered(messages: list[GivenMessage], info: ValidationInfo) -> list[Any]:
    """Return the messages as templates read them; the context learns of what is left out."""
    ignored = ignored_fields(info) or IgnoredFields()
    return cast(list[Any], rendered(read(messages, ignored), ignored.omitted, senses(info)))


def _joined(system: str | list[GivenBlock] | None) -> str | None:
    return None if system is None else system_text(system)


class ThinkingConfig(Extensible):
    type: str
    """`disabled`: do not think; any other: think, if the model can."""
    budget_tokens: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """The most tokens of a thought, which is closed then. Default: the model's limit, if any."""
    display: str | None = None
    """`omitted`: thoughts come without their text, which is in the signature."""


class OutputFormat(Extensible):
    type: Literal["json_schema"]
    json_schema: Schema = Field(alias="schema")


class OutputConfig(Extensible):
    effort: Effort | None = None
    """The effort of thinking, for templates that know it; `xhigh` and `max` are `high`."""
    format: OutputFormat | None = None
    """Form of the answer: JSON of a schema."""


class MessagesConversation(BaseModel):
    """The fields that make the prompt."""

    open_ended: ClassVar[bool] = True

    model: str | None = None
    """The model's id; the first one if none is named."""
    messages: Annotated[
        list[GivenMessage], Field(min_length=1, fail_fast=True), AfterValidator(_rendered)
    ]
    """The conversation so far. An answer goes on with a last message that is an assistant's."""
    system: Annotated[
        str | Annotated[list[GivenBlock], Field(fail_fast=True)] | None, AfterValidator(_joined)
    ] = None
    """Instructions that stand before the conversation."""
    tools: Annotated[list[GivenTool], Field(max_length=1024, fail_fast=True)] | None = None
    """Functions that the model may call. Server tools, which have no schema, are left out."""
    tool_choice: ToolChoice | None = None
    """Choice of the model: call one or none, call any, or call a certain one."""
    thinking: ThinkingConfig | None = None
    """The wish that the model thinks first. Default: it does not."""
    output_config: OutputConfig | None = None
    """Effort, and form of the answer."""
    output_format: OutputFormat | None = None
    """The older place of the form."""
    chat_template_kwargs: Json | None = None
    """More variables for the model's template, as in llama-server and vLLM."""

    def chat(self) -> Chat:
        """Return the prompt. Raises BadRequest for tools that contradict each other."""
        messages = cast(list[dict[str, Any]], self.messages)  # made of them by the validator
        if self.system:
            messages = [{"role": "system", "content": self.system}, *messages]
        return Chat(messages, chosen(self.tools, self.tool_choice), self._template_arguments())

    @property
    def thinks(self) -> bool:
        """Return whether the model is asked to think."""
        return self.thinking is not None and self.thinking.type != "disabled"

    def _template_arguments(self) -> dict[str, Any]:
        """Return what the template is told: Anthropic's API thinks only where it is asked to."""
        effort = None if self.output_config is None else self.output_config.effort
        arguments: dict[str, Any] = {}
        if effort is not None:
            arguments = effort_arguments("high" if effort in STRONGEST else effort)
        if effort != "none":
            arguments["enable_thinking"] = self.thinks
        return {**arguments, **(self.chat_template_kwargs or {})}


class MessagesBody(MessagesConversation, SamplingBody):
    place = MESSAGES_API

    stop_sequences: Annotated[list[StopSequence], Field(max_length=16, fail_fast=True)] | None = (
        None
    )
    """Texts that end the answer when they appear; they are left out, and named in the answer."""
    stream: bool | None = None
    """True: the answer comes as server-sent events."""

    def stops(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(self.stop_sequences or ()), *super().stops()]))

    def thought_limit(self) -> int | None:
        given = self.thinking.budget_tokens if self.thinking is not None and self.thinks else None
        limit = unlimited(given)
        return super().thought_limit() if limit is None else limit

    def form(self) -> Constraint | None:
        """Return the form that the answer must have. Raises BadRequest if two are asked for."""
        asked: dict[str, Constraint] = self.asked()
        newer = None if self.output_config is None else self.output_config.format
        if newer is not None:
            asked["output_config"] = JsonSchema(
                newer.json_schema, param="output_config", within=("format", "schema")
            )
        if self.output_format is not None:
            asked["output_format"] = JsonSchema(
                self.output_format.json_schema, param="output_format", within=("schema",)
            )
        if newer is not None and newer == self.output_format:
            del asked["output_format"]
        return constraint(None, self.json_schema, self.grammar, asked)

    @property
    def hides_thoughts(self) -> bool:
        """Return whether the client wants no text of thoughts."""
        return self.thinking is not None and self.thinking.display == "omitted"


class CountTokensBody(MessagesConversation):
    model_config = STRICT

    place: ClassVar[str] = COUNT_TOKENS
