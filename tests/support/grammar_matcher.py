"""A real matcher of llguidance's over bytes, with control tokens."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from llguidance import LLMatcher, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper

JOINED = ['"}', '"}}', "}\n", '", "', ">\n", "</", "tool_call", '": "', "]\n"]
"""Tokens over the borders of what the grammar is made of, as vocabularies have them."""


class _Vocabulary:
    eos_token_id, bos_token_id = 256, None

    def __init__(self, controls: Sequence[str]) -> None:
        self.tokens = [bytes([n]) for n in range(256)] + [b"</s>"]
        self.tokens += [text.encode() for text in [*controls, *JOINED]]
        self.ids = {text: 257 + n for n, text in enumerate([*controls, *JOINED])}
        self.special_token_ids = [256, *(self.ids[text] for text in controls)]

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@dataclass(frozen=True)
class Bound:
    """A model's vocabulary, and what a grammar makes of texts in it."""

    tokenizer: LLTokenizer
    controls: tuple[str, ...]
    ids: dict[str, int]

    @classmethod
    @cache
    def over(cls, controls: tuple[str, ...]) -> "Bound":
        vocabulary = _Vocabulary(controls)
        return cls(LLTokenizer(TokenizerWrapper(vocabulary)), controls, vocabulary.ids)

    @property
    def special(self) -> Callable[[str], str]:
        def term(text: str) -> str:
            if text in self.controls:
                return f"<[{self.ids[text]}]>"
            return '"' + text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'

        return term

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in re.split("(" + "|".join(map(re.escape, self.ids)) + ")", text):
            ids += [self.ids[part]] if part in self.ids else part.encode()
        return ids

    def judge(self, grammar: str, text: str) -> str:
        """ "whole", "open" if more must come, or what was refused."""
        matcher = LLMatcher(self.tokenizer, grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        tokens = self.tokens(text)
        taken = matcher.try_consume_tokens(tokens)
        if taken < len(tokens):
            assert not matcher.is_error(), matcher.get_error()
            return f"refused behind {taken} of {len(tokens)} tokens"
        return "whole" if matcher.is_accepting() else "open"
