"""OpenAI's ``prediction``: what a client expects of the answer, so that it comes faster."""

from typing import Literal

from gateway.api.nested import Nested
from gateway.api.openai.messages import MaybeEmpty
from gateway.api.openai.parts import text_of
from gateway.core.errors import BadRequest

MAX_PREDICTION = 1 << 20
"""Characters that reach the worker. It is a hint: the rest of a longer one is of no use."""


class Prediction(Nested):
    place = "prediction"

    type: Literal["content"] = "content"
    content: MaybeEmpty = None
    """A text that the answer repeats for the most part, such as a file with a change to make."""

    def text(self) -> str:
        """Return all of it as one text. Raises BadRequest for what is no text."""
        if not isinstance(self.content, list):
            return (self.content or "")[:MAX_PREDICTION]
        texts: list[str] = []
        for index, part in enumerate(self.content):
            text = text_of(part)
            if text is None:
                field = f"prediction.content.{index}.type"
                raise BadRequest(f"'{field}': a prediction is made of texts alone", param=field)
            texts.append(text)
        return "".join(texts)[:MAX_PREDICTION]
