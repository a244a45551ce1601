"""Questions that wait for no generation, such as how a text is tokenised, and their answers."""

import msgspec

from workers.protocol.prompts import Chat


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize"):
    """The tokens of a text. Answered with {"tokens": [...]}."""

    text: str
    add_special: bool
    """True: add what the model wants around a text, such as BOS."""
    parse_special: bool
    """True if special tokens written in the text count as such."""
    pieces: bool
    """True: tell each token's text too, or its bytes where they are no UTF-8."""


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize"):
    """The text of these tokens. Answered with {"content": "..."}."""

    ids: list[int]


class ApplyTemplate(msgspec.Struct, frozen=True, tag="template"):
    """The prompt that this conversation becomes. Answered with {"prompt": "..."}."""

    chat: Chat
    now: float
    """Unix seconds: the date that the template sees."""


class CountTokens(msgspec.Struct, frozen=True, tag="count"):
    """The number of tokens of a conversation's prompt. Answered with {"input_tokens": n}."""

    chat: Chat
    now: float


Question = Tokenize | Detokenize | ApplyTemplate | CountTokens


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A question that waits for no generation. Its ids are not those of generations."""

    id: int
    question: Question


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """The answer to a question.

    It is JSON that the gateway passes on as it is: a long text has a million tokens, and to read
    and write so many objects would hold up all streams there.
    """

    id: int
    json: bytes


class QuestionFailed(msgspec.Struct, frozen=True, tag="question_failed"):
    """A question that can't be answered; the fields are those of :class:`Failed`."""

    id: int
    code: str
    message: str
    param: str | None


Answer = Answered | QuestionFailed
