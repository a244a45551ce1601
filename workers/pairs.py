"""A query and a document as the tokens of one input, in the form that the model was trained with.

A model has a template for that, a text with {query} and {document}, or takes the two between its
special tokens. In both forms the two are mere text: a document can hold no special token, and a
query no place for another document.
"""

import re
from typing import NamedTuple

from workers.llama import Model
from workers.llama.tokenizer import Part
from workers.protocol import BAD_PROMPT, CONTEXT_OVERFLOW, Ranking, TextPair, overflow_message
from workers.refused import InputRefused

QUERY, DOCUMENT = "{query}", "{document}"
_PLACES = re.compile(r"(\{query\}|\{document\})")


class Sections(NamedTuple):
    """A pair's tokens up to its document, those up to the document's end, and those after it."""

    before: list[int]
    head: list[int]
    tail: list[int]


class PairWriter:
    """Writes pairs for one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        template = model.rerank_template or ""
        self._pieces = _PLACES.split(template) if DOCUMENT in template else []
        """The template's texts and places; empty where there is none."""

    def write(self, pair: TextPair, ranking: Ranking, longest: int) -> list[int]:
        """Return the tokens of a pair, ``longest`` at most. Raises InputRefused."""
        limit = min(longest, ranking.longest_pair or longest)
        whole = self._whole(pair)
        if not whole:
            raise InputRefused(BAD_PROMPT, "the pair holds no token", pair.document_field)
        if len(whole) <= limit and ranking.longest_document is None:
            return whole
        before, head, tail = self._sections(pair)
        end = len(head)
        if ranking.longest_document is not None:
            end = min(end, len(before) + ranking.longest_document)
        if ranking.cut or ranking.longest_pair is not None:
            end = min(end, limit - len(tail))
            if end < len(head) and end <= len(before):
                raise _overflow("query", len(before) + len(tail), limit, pair.query_field)
        if end == len(head) and len(whole) <= limit:
            return whole
        if end + len(tail) > limit:
            raise _overflow("query and document", end + len(tail), limit, pair.document_field)
        return head[:end] + tail

    def _whole(self, pair: TextPair) -> list[int]:
        if self._pieces:
            return self._filled(self._pieces, pair)
        _, head, tail = self._sections(pair)
        return head + tail

    def _sections(self, pair: TextPair) -> Sections:
        if self._pieces:
            last = len(self._pieces) - 1 - self._pieces[::-1].index(DOCUMENT)
            ends = (self._pieces[:last], self._pieces[: last + 1], self._pieces[last + 1 :])
            return Sections(*(self._filled(pieces, pair) for pieces in ends))
        marks = self._model.pair_marks
        before = [*marks.before, *self._text(pair.query), *marks.between]
        return Sections(before, before + self._text(pair.document), marks.after)

    def _text(self, text: str) -> list[int]:
        return self._model.tokenize(text, add_special=False, parse_special=False)

    def _filled(self, pieces: list[str], pair: TextPair) -> list[int]:
        """Return the tokens of a part of the template with the pair's texts in their places."""
        texts = {QUERY: pair.query, DOCUMENT: pair.document}
        parts = (Part(texts.get(piece, piece), piece not in texts) for piece in pieces)
        return self._model.tokenizer.tokenize_parts(parts, add_special=False)


def _overflow(what: str, tokens: int, limit: int, param: str) -> InputRefused:
    message = overflow_message(what, str(tokens), limit, param)
    return InputRefused(CONTEXT_OVERFLOW, message, param, (tokens, limit))
