"""Questions beside the generations: tokens of a text, text of tokens, prompt of a chat.

A thread of its own answers them, one after the other, and waits neither for the engine nor for the
prompts that are being prepared. So it has a template of its own too.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from workers.llama import Model
from workers.media.prompt import count_tokens
from workers.media.source import MediaSource, not_taken
from workers.prompt_tokens import check_token_ids
from workers.prompter import Prompter
from workers.protocol import (
    BAD_PROMPT,
    COMPUTE_FAILED,
    Answer,
    Answered,
    ApplyTemplate,
    Ask,
    Chat,
    CountTokens,
    Detokenize,
    Question,
    QuestionFailed,
    Tokenize,
)
from workers.refused import InputRefused
from workers.template.sandbox import SandboxFailed
from workers.template.sources import TemplateFailed


class TokenService:
    """Answers questions. For one thread."""

    def __init__(
        self,
        model: Model,
        prompter: Callable[[], Prompter],
        media: MediaSource | None = None,
        name: str = "this model",
    ) -> None:
        """``prompter`` makes a prompter of this thread's own, when it is first needed.

        It may raise TemplateFailed or SandboxFailed; the next question that needs it tries again.
        ``media``: the model's pictures and sound, if it takes any. ``name``: what clients call it.
        """
        self._model = model
        self._make_prompter = prompter
        self._media = media
        self._name = name
        self._prompter: Prompter | None = None
        self._pieces: dict[int, msgspec.Raw] = {}
        """Answers' JSON for each token met so far: a long text has few different ones."""

    def answer(self, ask: Ask) -> Answer:
        """Answer a question, if only with a failure."""
        try:
            return Answered(ask.id, msgspec.json.encode(self._consider(ask.question)))
        except InputRefused as refused:
            return QuestionFailed(ask.id, refused.code, str(refused), refused.param)

    def _consider(self, question: Question) -> dict[str, Any]:
        """Return the answer before it is JSON. Raises :class:`InputRefused`."""
        match question:
            case Tokenize():
                return {"tokens": self._tokens(question)}
            case Detokenize(ids):
                return {"content": self._content(ids)}
            case ApplyTemplate(chat, now):
                return self._prompt(chat, now)
            case CountTokens(chat, now):
                return {"input_tokens": self._count(chat, now)}

    def _count(self, chat: Chat, now: float) -> int:
        """Return the number of a conversation's tokens; no medium is encoded for that."""
        prompter = self._own_prompter()
        written = prompter.write(chat, now)
        if not written.marks:
            return len(prompter.tokenize(written))
        if self._media is None:
            raise not_taken(chat.media[0], self._name)
        tokenizer = self._model.tokenizer
        return count_tokens(written.parts, written.marks, chat.media, tokenizer, self._media)

    def _prompt(self, chat: Chat, now: float) -> dict[str, Any]:
        """Return a conversation's prompt, and the control tokens that are mere text in it."""
        prompter = self._own_prompter()
        written = prompter.write(chat, now)
        mistaken = prompter.mistaken(written)
        return {"prompt": written.text} | ({"text_not_tokens": mistaken} if mistaken else {})

    def _tokens(self, question: Tokenize) -> list[int] | list[msgspec.Raw]:
        ids = self._model.tokenize(
            question.text,
            add_special=question.add_special,
            parse_special=question.parse_special,
        )
        return [self._piece(id_) for id_ in ids] if question.pieces else ids

    def _piece(self, id_: int) -> msgspec.Raw:
        """Return a token with its text as JSON, or its bytes if they are part of a character."""
        if id_ not in self._pieces:
            data = self._model.shown(id_)
            try:
                piece: str | list[int] = data.decode()
            except UnicodeDecodeError:
                piece = list(data)
            self._pieces[id_] = msgspec.Raw(msgspec.json.encode({"id": id_, "piece": piece}))
        return self._pieces[id_]

    def _content(self, ids: list[int]) -> str:
        """Return the text of tokens; invalid UTF-8 becomes U+FFFD."""
        check_token_ids(ids, self._model.n_vocab, "tokens", indexed=True)
        return b"".join(map(self._model.shown, ids)).decode("utf-8", "replace")

    def _own_prompter(self) -> Prompter:
        if self._prompter is None:
            try:
                self._prompter = self._make_prompter()
            except TemplateFailed as error:
                raise InputRefused(BAD_PROMPT, str(error)) from error
            except SandboxFailed as error:
                raise InputRefused(COMPUTE_FAILED, str(error)) from error
        return self._prompter
