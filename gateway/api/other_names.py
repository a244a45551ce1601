"""Other programs' names for what Forge serves: vLLM's, llama-server's, Ollama's, OpenRouter's.

They mean here what they mean there. A body that has some of them is read once more, as one of these
types, before its own; so a body without them costs nothing. The table of fields has a row for each.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.api.nested import Nested
from gateway.api.schemas import MAX_GRAMMAR, GrammarSource, Schema
from gateway.core.errors import BadRequest
from gateway.core.strict import STRICT
from workers.protocol import Constraint, Grammar, JsonSchema

MAX_TOKENS = 2**31 - 1
MAX_CHOICES = 1000
"""Most texts to choose one from."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def _schema(value: Any) -> Any:
    """Return a schema that is given as the text of one."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise PydanticCustomError("not_json", "it should be a JSON schema") from None


SchemaOrText = Annotated[
    Schema,
    BeforeValidator(_schema),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}]}),
]
Pattern = Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES, fail_fast=True)]
Limit = Annotated[int, Field(ge=-2, le=MAX_TOKENS)]
Budget = Annotated[int, Field(ge=-1, le=MAX_TOKENS)]
BUDGET = "thinking_budget_tokens"
"""Forge's name for the most tokens of a thought, and llama-server's."""
BUDGETS = (
    "reasoning_budget_tokens", "reasoning_budget", "thinking_budget", "thinking_token_budget",
)  # fmt: skip
"""Others' names for it."""


class StructuredOutputs(Nested):
    """vLLM's form of the answer: one of these."""

    place = "structured_outputs"

    json_schema: SchemaOrText | None = Field(None, alias="json")
    regex: Pattern | None = None
    choice: Texts | None = None
    grammar: GrammarSource | None = None
    json_object: bool | None = None


class Thinking(Nested):
    """Anthropic's switch for thoughts, which GLM and DeepSeek have, too."""

    place = "thinking"

    type: Literal["enabled", "disabled", "adaptive", "auto"]
    budget_tokens: Budget | None = None


class Reasoning(Nested):
    """OpenRouter's switch for thoughts, and that of OpenAI's Responses API."""

    place = "reasoning"

    effort: Effort | None = None
    enabled: bool | None = None
    max_tokens: Budget | None = None


class UsageWish(Nested):
    """OpenRouter's wish for token counts."""

    include: bool | None = None


class Names(BaseModel):
    """The base: fields with another name here."""

    model_config = {**STRICT, "allow_inf_nan": False}

    def renamed(self) -> Iterator[tuple[str, str, Any]]:
        """Yield the names of fields that have another name here: theirs, ours, and the value."""
        return iter(())


class SamplingNames(Names):
    """Names that every generating endpoint takes."""

    repetition_penalty: float | None = Field(None, gt=0, le=10)
    n_predict: Limit | None = None
    num_predict: Limit | None = None
    reasoning_budget_tokens: Budget | None = None
    reasoning_budget: Budget | None = None
    thinking_budget: Budget | None = None
    thinking_token_budget: Budget | None = None
    guided_json: SchemaOrText | None = None
    guided_regex: Pattern | None = None
    guided_choice: Texts | None = None
    guided_grammar: GrammarSource | None = None
    structured_outputs: StructuredOutputs | None = None

    def renamed(self) -> Iterator[tuple[str, str, Any]]:
        if self.repetition_penalty is not None:
            yield "repetition_penalty", "repeat_penalty", self.repetition_penalty
        for name in ("n_predict", "num_predict"):
            if (limit := getattr(self, name)) is not None:
                yield name, "max_tokens", max(-1, limit)
        for name in BUDGETS:
            if (budget := getattr(self, name)) is not None:
                yield name, BUDGET, budget

    def constraints(self) -> dict[str, Constraint]:
        """Return the forms that are asked for, by the names of their fields."""
        found: dict[str, Constraint] = {}
        if self.guided_json is not None:
            found["guided_json"] = JsonSchema(self.guided_json, param="guided_json")
        if self.guided_regex is not None:
            found["guided_regex"] = of_pattern(self.guided_regex, "guided_regex")
        if self.guided_choice is not None:
            found["guided_choice"] = _of_choice(self.guided_choice, "guided_choice")
        if self.guided_grammar is not None:
            found["guided_grammar"] = Grammar(self.guided_grammar, "guided_grammar")
        if self.structured_outputs is not None:
            found |= _structured(self.structured_outputs)
        return found


class LlamaNames(SamplingNames):
    """Names in llama-server's own dialect."""

    max_completion_tokens: Limit | None = None
    n: int | None = Field(None, ge=1, le=MAX_TOKENS)
    logprobs: int | None = Field(None, ge=0, le=MAX_TOKENS)

    def renamed(self) -> Iterator[tuple[str, str, Any]]:
        yield from super().renamed()
        if self.max_completion_tokens is not None:
            yield "max_completion_tokens", "max_tokens", max(-1, self.max_completion_tokens)
        if self.n is not None:
            yield "n", "n_cmpl", self.n
        if self.logprobs is not None:
            yield "logprobs", "n_probs", self.logprobs


class CompletionNames(SamplingNames):
    """Names in OpenAI's two dialects."""

    usage: UsageWish | None = None


class ThinkingNames(Names):
    """Names for whether the model thinks first, and how much."""

    enable_thinking: bool | None = None
    think: bool | Effort | None = None
    thinking: Thinking | None = None
    reasoning: Reasoning | None = None

    def efforts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each name with the template's arguments that it stands for."""
        if self.enable_thinking is not None:
            yield "enable_thinking", {"enable_thinking": self.enable_thinking}
        if isinstance(self.think, bool):
            yield "think", {"enable_thinking": self.think}
        elif self.think is not None:
            yield "think", effort_arguments(self.think)
        if self.thinking is not None and self.thinking.type in ("enabled", "disabled"):
            yield "thinking", {"enable_thinking": self.thinking.type == "enabled"}
        if self.reasoning is not None and self.reasoning.enabled is not None:
            yield "reasoning", {"enable_thinking": self.reasoning.enabled}
        if self.reasoning is not None and self.reasoning.effort is not None:
            yield "reasoning", effort_arguments(self.reasoning.effort)


class ChatNames(CompletionNames, ThinkingNames):
    """Names in chats."""

    def renamed(self) -> Iterator[tuple[str, str, Any]]:
        yield from super().renamed()
        switch, wish = self.thinking, self.reasoning
        if switch is not None and switch.budget_tokens is not None and switch.type != "disabled":
            yield "thinking.budget_tokens", BUDGET, switch.budget_tokens
        if wish is not None and wish.max_tokens is not None:
            yield "reasoning.max_tokens", BUDGET, wish.max_tokens


def effort_arguments(effort: Effort) -> dict[str, Any]:
    """Return an effort as families of models read it: the word itself, or whether to think."""
    return {"reasoning_effort": effort, "enable_thinking": effort != "none"}


def ours(names: Names, raw: dict[str, Any]) -> dict[str, Any]:
    """Return ``raw`` with the fields that have another name here. Raises BadRequest for two that
    are one and differ."""
    found = dict(raw)
    for theirs, own, value in names.renamed():
        if found.get(own) is not None and found[own] != value:
            message = f"'{theirs}' is another name of '{own}', and the two differ"
            raise BadRequest(message, param=theirs)
        found[own] = value
    return found


def _structured(given: StructuredOutputs) -> dict[str, Constraint]:
    name = "structured_outputs"
    found: dict[str, Constraint] = {}
    if given.json_schema is not None:
        found[f"{name}.json"] = JsonSchema(given.json_schema, param=name)
    if given.regex is not None:
        found[f"{name}.regex"] = of_pattern(given.regex, name)
    if given.choice is not None:
        found[f"{name}.choice"] = _of_choice(given.choice, name)
    if given.grammar is not None:
        found[f"{name}.grammar"] = Grammar(given.grammar, name)
    if given.json_object:
        found[f"{name}.json_object"] = JsonSchema({"type": "object"}, param=name)
    return found


def of_pattern(pattern: str, param: str) -> Grammar:
    """Return a grammar of what a regular expression matches as a whole, with anchors or without."""
    whole = pattern.removeprefix("^")
    if re.search(r"(?<!\\)(?:\\\\)*\$\Z", whole):
        whole = whole[:-1]
    # Lark writes an expression between slashes, on one line.
    escapes = {"/": "\\/", "\n": "\\n", "\r": "\\r"}
    line = re.sub(r"\\.|[/\n\r]", lambda found: escapes.get(found[0], found[0]), whole, flags=re.S)
    return Grammar(f"start: /{line}/", param)


def _of_choice(texts: list[str], param: str) -> Grammar:
    """Return a grammar of some texts."""
    quoted = " | ".join(orjson.dumps(text).decode() for text in texts)
    if len(quoted) > MAX_GRAMMAR:
        message = f"'{param}': the texts may have {MAX_GRAMMAR} characters together at most"
        raise BadRequest(message, param=param)
    return Grammar(f"start: {quoted}", param)
