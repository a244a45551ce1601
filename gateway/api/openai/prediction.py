"""OpenAI's ``prediction``: what a client expects of the answer, so that it comes faster."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.api.nested import Nested
from gateway.api.openai.parts import TextPart

MAX_PREDICTION = 1 << 20
"""Characters that reach the worker. It is a hint: the rest of a longer one is of no use."""


class Prediction(Nested):
    place = "prediction"

    type: Literal["content"] = "content"
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = None
    """A text that the answer repeats for the most part, such as a file with a change to make."""

    def text(self) -> str:
        """Return all of it as one text."""
        if not isinstance(self.content, list):
            return (self.content or "")[:MAX_PREDICTION]
        return "".join(part.text or "" for part in self.content)[:MAX_PREDICTION]
