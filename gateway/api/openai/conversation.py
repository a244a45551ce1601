"""The fields of a chat that make its prompt; /apply-template takes the same."""

from typing import Annotated, Any, ClassVar, cast

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo
from pydantic.json_schema import SkipJsonSchema

from gateway.api.body_context import ignored_fields, senses
from gateway.api.openai.history import plain
from gateway.api.openai.messages import Message
from gateway.api.openai.tools import Choice, Tools, chosen
from gateway.api.other_names import Effort, Names, ThinkingNames, effort_arguments
from gateway.api.schemas import Json
from gateway.core.errors import BadRequest
from workers.protocol import Chat


def _plain(messages: list[Message], info: ValidationInfo) -> list[Any]:
    """Return the messages as templates read them; the context learns of what is ignored."""
    return plain(messages, ignored_fields(info), senses(info))


class Conversation(BaseModel):
    """Messages and tools, and what the model's template is told beside them."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True), AfterValidator(_plain)]
    """The conversation so far."""
    tools: Tools | None = None
    """Functions that the model may call."""
    tool_choice: Choice | None = None
    """Choice of the model: call one or none, call any, or call a certain one."""
    parallel_tool_calls: bool | None = None
    """False: one call at most. Default true."""
    reasoning_effort: Effort | None = None
    """For templates that know one; `none`: do not think."""
    chat_template_kwargs: Json | None = None
    """More variables for the model's template, as in llama-server and vLLM."""
    continue_final_message: bool | None = None
    """True: the answer goes on with the last message, an assistant's. Default: if it is one without
    calls."""
    add_generation_prompt: bool | None = None
    """True: the answer is a new turn. False: the prompt ends as the template ends the last
    message, unless that is continued."""

    others: SkipJsonSchema[ThinkingNames | None] = None
    # Made of what the body has under other programs' names; no client can say it.
    others_type: ClassVar[type[Names]] = ThinkingNames

    def chat(self) -> Chat:
        """The prompt. Raises BadRequest for tools or fields that contradict each other."""
        if self.continue_final_message and self.add_generation_prompt:
            name = "continue_final_message"
            message = f"'{name}' and 'add_generation_prompt' contradict each other"
            raise BadRequest(message, param=name)
        use = chosen(self.tools, self.tool_choice, self.parallel_tool_calls)
        messages = cast(list[dict[str, Any]], self.messages)  # made of them by the validator
        return Chat(
            messages,
            use,
            self._template_arguments(),
            self.continue_final_message,
            self.add_generation_prompt,
        )

    def _template_arguments(self) -> dict[str, Any]:
        """Return what the template is told. Raises BadRequest for efforts that differ."""
        arguments: dict[str, Any] = {}
        if self.reasoning_effort is not None:
            arguments = effort_arguments(self.reasoning_effort)
        for name, more in () if self.others is None else self.others.efforts():
            if any(arguments.get(key, value) != value for key, value in more.items()):
                message = f"'{name}' contradicts what another field says about thinking"
                raise BadRequest(message, param=name)
            arguments |= more
        return {**arguments, **(self.chat_template_kwargs or {})}
