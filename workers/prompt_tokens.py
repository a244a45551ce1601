"""The tokens of prompts that need no template: texts, ids, and gaps to fill."""

from collections.abc import Sequence

from workers.llama import Model
from workers.planning.infill import around, fitting, gap, project
from workers.protocol import BAD_PROMPT, NOT_SUPPORTED, Infill, Mixed, Text, Tokens
from workers.refused import InputRefused


def check_token_ids(
    ids: Sequence[int], n_vocab: int, param: str, *, code: str = BAD_PROMPT, indexed: bool = False
) -> None:
    """Raise InputRefused about ``param`` unless a vocabulary of ``n_vocab`` tokens has all ids.

    llama.cpp would end the process over an id that it does not have. ``indexed``: the error names
    the place in the list, too.
    """
    wrong = next((at for at, id_ in enumerate(ids) if not 0 <= id_ < n_vocab), None)
    if wrong is not None:
        field = f"{param}.{wrong}" if indexed else param
        message = f"'{field}': token ids of this model are 0 to {n_vocab - 1}, not {ids[wrong]}"
        raise InputRefused(code, message, field)


class PromptTokens:
    """Turns prompts into tokens. For one thread."""

    def __init__(self, model: Model, limit: int, name: str) -> None:
        """``limit``: tokens that a sequence may hold; ``name``: what clients call the model."""
        self._model = model
        self._limit = limit
        self._name = name

    def of(
        self, prompt: Text | Tokens | Mixed | Infill, answer: int | None, param: str = "prompt"
    ) -> list[int]:
        """Return a prompt's tokens. ``answer``: the most tokens of the answer, if that is limited.

        Raises :class:`InputRefused`, about ``param`` if ids are at fault.
        """
        match prompt:
            case Text():
                return self._model.tokenize(prompt.text)
            case Tokens():
                check_token_ids(prompt.ids, self._model.n_vocab, param)
                return list(prompt.ids)
            case Mixed():
                return self._mixed(prompt.parts, param)
            case Infill():
                return self._infill(prompt, answer)

    def _mixed(self, parts: list[str | int], param: str) -> list[int]:
        ids: list[int] = []
        given = [part for part in parts if isinstance(part, int)]
        check_token_ids(given, self._model.n_vocab, param)
        for at, part in enumerate(parts):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._model.tokenize(part, add_special=at == 0)
        return ids

    def _infill(self, prompt: Infill, answer: int | None) -> list[int]:
        fim = self._model.fim
        if fim is None and prompt.files is None:
            message = "'suffix': this model has no tokens for infilling"
            raise InputRefused(BAD_PROMPT, message, "suffix")
        if fim is None:
            message = f"{self._name} can't fill in: it has no tokens for infilling"
            raise InputRefused(NOT_SUPPORTED, message, "model")
        head = self._model.tokenize("")
        prefix, suffix = self._plain(prompt.prefix), self._plain(prompt.suffix)
        begun = self._model.tokenize(prompt.begun, add_special=False)
        if prompt.files is None:
            return gap(fim, head, prefix, begun, suffix)
        extra = project(fim, prompt.files, self._plain)
        prefix, suffix = around(prefix, begun, suffix, self._limit)
        rest = gap(fim, head, prefix, begun, suffix)
        wanted = 1 if answer is None else max(1, answer)
        return fitting(extra, len(rest), wanted, self._limit) + rest

    def _plain(self, text: str) -> list[int]:
        """Return the tokens of a text in which control tokens are mere text."""
        return self._model.tokenize(text, add_special=False, parse_special=False)
