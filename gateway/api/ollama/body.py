"""The bodies of Ollama's dialect, as its clients write them.

Its clients send whatever some version took, so fields that are not known are ignored and named.
"""

from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
)

from gateway.api.body import SamplingBody
from gateway.api.body_context import ignored_fields, senses
from gateway.api.embedding_inputs import MAX_INPUTS
from gateway.api.field_table import OLLAMA_CHAT, OLLAMA_EMBED, OLLAMA_GENERATE
from gateway.api.ollama.keep_alive import KeepAlive
from gateway.api.ollama.messages import OllamaMessage, OllamaTools, pictures, turns
from gateway.api.ollama.options import Defaults, Options, completed
from gateway.api.other_names import Effort, effort_arguments
from gateway.api.schemas import Schema, constraint
from gateway.api.token_ids import TokenId
from gateway.api.urgency import MAX_TIMEOUT_S, Priority
from gateway.conversation import BLIND, Senses, TextBlock, Turn, rendered, tool_use
from gateway.core.errors import BadRequest, ImageNotSupported
from gateway.core.strict import STRICT
from workers.protocol import Chat, Constraint, Infill, JsonSchema, Prompt, Text

STRONGEST = ("xhigh", "max")
"""Efforts above what templates know."""
SEEING: Senses = frozenset(("image",))
"""Of a model whose prompt has pictures: others are refused before."""


def _rendered(messages: list[OllamaMessage] | None, info: ValidationInfo) -> list[Any]:
    """Return the messages as templates read them; the context learns of what is left out."""
    ignored, able = ignored_fields(info), senses(info)
    omitted = None if ignored is None else ignored.omitted
    return cast(list[Any], rendered(turns(messages or [], able), omitted, able))


def _form(value: Any) -> str | None:
    """Return which of the two kinds of forms a value is; None if it is none."""
    if isinstance(value, dict):
        return "schema"
    return "name" if value in ("", "json") else None


Form = Annotated[
    Annotated[Schema, Tag("schema")] | Annotated[Literal["", "json"], Tag("name")],
    Discriminator(
        _form,
        custom_error_type="no_form",
        custom_error_message="Input should be 'json' or a JSON schema",
    ),
]
Thinks = bool | Effort | Literal[""]


class OllamaBody(BaseModel):
    """The fields that every endpoint takes which needs a model."""

    model_config = STRICT
    open_ended: ClassVar[bool] = True

    model: str | None = None
    """The model's name, with its tag or without; the first one if none is named."""
    options: Options | None = None
    """The choice of tokens, and the end of the answer."""
    keep_alive: KeepAlive = None
    """Time that the model stays loaded without work: no longer than the server's own."""
    priority: Priority | None = None
    """Larger is more urgent, by number or by name. Default: normal, which is 1."""
    timeout: float | None = Field(None, gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)
    """Seconds that the request may take, waiting included."""

    @classmethod
    def completed(cls, raw: dict[str, Any], defaults: Defaults) -> dict[str, Any]:
        """Return a body with the defaults for what its options do not say."""
        return {**raw, "options": completed(raw.get("options"), defaults)}

    def chosen(self) -> Options:
        """Return the options, with the priority and the timeout of the body if it has some."""
        own = {"priority": self.priority, "timeout": self.timeout}
        said = {name: value for name, value in own.items() if value is not None}
        return (self.options or Options()).model_copy(update=said)

    @property
    def leaves(self) -> bool:
        """Return whether the model need not stay."""
        return self.keep_alive == 0


class OllamaGeneration(OllamaBody):
    """The fields that both generating endpoints take."""

    stream: bool | None = None
    """False: the answer comes as a whole. Default: a line of JSON for each piece."""
    format: Form | None = None
    """Form of the answer: `json`, or a JSON schema."""
    think: Thinks | None = None
    """The wish that the model thinks first, or not; an effort for templates that know one."""
    logprobs: bool | None = None
    """True: return the log probability of each token."""
    top_logprobs: int | None = Field(None, ge=0, le=20)
    """Number of alternatives of each token to tell too; needs `logprobs`."""
    truncate: bool | None = None
    """False: a prompt that is too long is refused. Default: it is cut."""

    def form(self) -> Constraint | None:
        """Return the form that the answer must have. Raises BadRequest if two are asked for."""
        given: SamplingBody = self.options or Options()
        asked: dict[str, Constraint] = {}
        if self.format:
            schema = {"type": "object"} if self.format == "json" else self.format
            asked["format"] = JsonSchema(cast(dict[str, Any], schema), strict=False, param="format")
        return constraint(None, given.json_schema, given.grammar, asked)

    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def kept(self) -> str:
        """Return the field whose probabilities are kept until the answer is whole; "": none."""
        if self.stream is not False:
            return ""
        return "top_logprobs" if self.top_logprobs else "logprobs"

    def arguments(self) -> dict[str, Any]:
        """Return what the template is told about thinking."""
        if self.think is None or self.think == "":
            return {}
        if isinstance(self.think, bool):
            return {"enable_thinking": self.think}
        return effort_arguments("high" if self.think in STRONGEST else self.think)


class OllamaChatBody(OllamaGeneration):
    place: ClassVar[str] = OLLAMA_CHAT

    messages: Annotated[list[OllamaMessage] | None, AfterValidator(_rendered)] = []
    """The conversation so far. Without any, or null, the model is loaded, or unloaded."""
    tools: OllamaTools | None = None
    """Functions that the model may call."""

    def chat(self) -> Chat:
        """Return the prompt. Raises BadRequest for tools that contradict each other."""
        messages = cast(list[dict[str, Any]], self.messages)  # made of them by the validator
        use = tool_use([tool.plain() for tool in self.tools or ()])
        return Chat(messages, use, self.arguments())


class OllamaGenerateBody(OllamaGeneration):
    place: ClassVar[str] = OLLAMA_GENERATE

    prompt: str | None = None
    """The text that a user says. Without one, the model is loaded, or unloaded."""
    system: str | None = None
    """Instructions that stand before it."""
    suffix: str | None = None
    """Text after the answer: needs a model that was trained to fill in."""
    raw: bool | None = None
    """True: the prompt goes to the model as it is, without its chat template."""
    context: Annotated[list[TokenId], Field(fail_fast=True)] | None = None
    """The `context` of an earlier answer, which this prompt goes on after."""
    images: list[Any] | None = None
    """Pictures in base64, for a model that takes some."""

    def check(self, able: Senses = BLIND) -> None:
        """Raises BadRequest for fields that contradict each other, and for pictures.

        ``able``: the media that the model takes.
        """
        if self.images and "image" not in able:
            raise ImageNotSupported("'images': this model does not take images", param="images")
        if self.images and (self.raw or self.suffix):
            name = "raw" if self.raw else "suffix"
            raise BadRequest(f"'{name}': a prompt of this kind has no images", param=name)
        clash = next((name for name in ("system", "context") if getattr(self, name)), None)
        if self.raw and clash is not None:
            message = f"'{clash}': raw mode does not support template, system, or context"
            raise BadRequest(message, param=clash)

    def input(self) -> Prompt:
        """Return the prompt."""
        prompt = self.prompt or ""
        if self.suffix:
            return Infill(prompt, self.suffix)
        if self.raw:
            return Text(prompt)
        system = [{"role": "system", "content": self.system}] if self.system else []
        seen = pictures(self.images, ("images",))
        asked = rendered([Turn("user", [*seen, TextBlock(prompt)])], None, SEEING)
        messages = [*system, *asked]
        return Chat(messages, arguments=self.arguments(), before=self.context or [])

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to answer."""
        return not (self.prompt or self.suffix or self.images)


def _inputs(value: str | list[str] | None) -> list[str]:
    """Return a list of the inputs: one that is empty is none, and so is null."""
    if isinstance(value, str):
        return [value] if value else []
    return value or []


class OllamaEmbedBody(OllamaBody):
    place: ClassVar[str] = OLLAMA_EMBED

    input: Annotated[
        str | Annotated[list[str], Field(max_length=MAX_INPUTS, fail_fast=True)] | None,
        AfterValidator(_inputs),
    ] = []
    """One text or several."""
    truncate: bool | None = None
    """False: an input that is too long is refused. Default: it loses its end."""
    dimensions: int | None = Field(None, ge=1, le=2**31 - 1)
    """Number of the model's dimensions to keep. Default: all."""


class OllamaEmbeddingsBody(OllamaBody):
    place: ClassVar[str] = OLLAMA_EMBED

    prompt: str | None = None
    """The text."""
