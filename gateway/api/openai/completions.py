"""/v1/completions: from body to prompts, and from events to answers."""

from typing import Annotated, Any, Literal, NamedTuple, cast

import orjson
from pydantic import Field

from gateway.api.field_table import COMPLETIONS
from gateway.api.kept_probabilities import written
from gateway.api.openai.chat import finish_reason
from gateway.api.openai.common import MAX_SEQUENCES, Envelope, OpenAIBody
from gateway.api.openai.logprobs import FLOOR, token_text
from gateway.api.openai.types import CompletionChoice, CompletionChunkChoice, CompletionLogprobs
from gateway.api.reply import Completion
from gateway.api.schemas import constraint
from gateway.api.token_ids import TokenId
from gateway.core.errors import BadRequest
from workers.protocol import Constraint, Extra, Infill, Logprob, Prompt, Text, Tokens

COMPLETION_TOKENS = 16
"""OpenAI's default for /v1/completions."""

Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]
Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
ListsOfIds = Annotated[list[Ids], Field(min_length=1, fail_fast=True)]


class CompletionBody(OpenAIBody):
    place = COMPLETIONS

    prompt: str | Texts | Ids | ListsOfIds
    """One text or several, or lists of token ids."""
    max_tokens: int | None = Field(None, ge=-1, le=2**31 - 1)
    """The most tokens of an answer. Default 16; -1: what the context holds; 0: none."""
    echo: bool | None = None
    """True: the answer begins with the prompt."""
    suffix: str | None = None
    """Text after the answer: needs a model that was trained to fill in."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | Literal[False] | None = None
    """Number of alternatives of each token to tell, with log probabilities."""

    def check(self) -> None:
        super().check()
        if self.suffix and self.echo:
            raise BadRequest("'echo' can't be given with a 'suffix'", param="echo")
        if self.suffix and not all(isinstance(prompt, Infill) for prompt in self.prompts()):
            message = "'suffix' needs a 'prompt' of text, not of token ids"
            raise BadRequest(message, param="suffix")

    @property
    def probabilities_field(self) -> str:
        """Return the field that asks for the probabilities of tokens."""
        return "logprobs"

    def limit(self) -> int | None:
        return COMPLETION_TOKENS if self.max_tokens is None else super().limit()

    def prompts(self) -> tuple[Prompt, ...]:
        found = tuple(map(self._prompt, self._list()))
        if len(found) * (self.n or 1) > MAX_SEQUENCES:
            message = f"prompts times 'n' may be {MAX_SEQUENCES} at most"
            raise BadRequest(message, param="prompt")
        return found

    def _list(self) -> list[str] | list[list[int]]:
        given = self.prompt
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], int):
            return [given]
        return given

    def _prompt(self, given: str | list[int]) -> Prompt:
        if isinstance(given, list):
            return Tokens(given)
        return Infill(given, self.suffix) if self.suffix else Text(given)

    def alternatives(self) -> int | None:
        return None if self.logprobs is False else self.logprobs

    def constraint(self) -> Constraint | None:
        return constraint(None, self.json_schema, self.grammar, self.asked())


class ProbableToken(NamedTuple):
    """A token with its probabilities."""

    text: str
    logprob: float | None
    top: orjson.Fragment
    """Its alternatives in JSON."""
    characters: int
    """The characters that begin in it."""


class CompletionEnvelope(Envelope):
    """The answer to a text completion."""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def _more_fields(self, given: OpenAIBody) -> dict[str, Any]:
        self._told = [0] * len(self._ticket.sequences)
        """Bytes of tokens told with their probabilities, for each choice of a stream."""
        return {}

    def _choice(self, index: int, completion: Completion) -> CompletionChoice:
        return {
            "index": index,
            "text": completion.text,
            "logprobs": self._logprobs(index, completion.logprobs),
            "finish_reason": finish_reason(completion.reason),
        }

    def _first(self, index: int) -> None:
        return None

    def _piece(self, index: int, text: str, extra: Extra | None) -> CompletionChunkChoice:
        found = [self.probable(one) for one in extra.logprobs] if extra is not None else []
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(index, found),
            "finish_reason": None,
        }

    def _last(self, index: int, reason: str) -> CompletionChunkChoice:
        return {
            "index": index,
            "text": "",
            "logprobs": None,
            "finish_reason": finish_reason(reason),
        }

    def probable(self, found: Logprob) -> ProbableToken:
        piece = found.chosen.piece
        top = written(alternatives(found))
        return ProbableToken(
            token_text(piece), finite(found.chosen.logprob), top, characters(piece)
        )

    def _logprobs(self, index: int, found: list[ProbableToken]) -> CompletionLogprobs | None:
        if not self._wants_logprobs:
            return None
        offsets = []
        for one in found:
            offsets.append(self._told[index])
            self._told[index] += one.characters
        return {
            "tokens": [one.text for one in found],
            "token_logprobs": [one.logprob for one in found],
            "top_logprobs": [cast(Any, one.top) for one in found],
            "text_offset": offsets,
        }


def characters(piece: bytes) -> int:
    """Characters that begin in a token: those that go on from the one before do not count."""
    return sum(byte & 0xC0 != 0x80 for byte in piece)


def finite(logprob: float) -> float | None:
    """None for the first token of a prompt, before which there is nothing."""
    return max(logprob, FLOOR) if logprob == logprob else None


def alternatives(found: Logprob) -> dict[str, float] | None:
    """The likeliest tokens by their text, and the chosen one if it is not among them."""
    if finite(found.chosen.logprob) is None:
        return None
    return {token_text(one.piece): max(one.logprob, FLOOR) for one in (*found.top, found.chosen)}
