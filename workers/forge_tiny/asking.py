"""Ask a GGUF through llama.cpp and count right answers; Forge's own packages are enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import llama_cpp

from workers.llama import initialise

from .cases import Case
from .corpus.message import CorpusConversation
from .rendering import render

LIMIT = 700
"""Most tokens of one answer; a longer one counts as not ended."""
SHOWN = 8


@dataclass(frozen=True)
class Reply:
    """The model's answer to one prompt."""

    text: str
    tokens: int
    prompt_tokens: int
    ended: bool


class ServedTiny:
    """A GGUF in llama.cpp, asked greedily."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        initialise()  # llama.cpp's log goes to ours, where debug lines are not shown
        self.llama = llama_cpp.Llama(
            str(path),
            n_ctx=2048,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
            seed=0,
        )

    def reply(self, conversation: CorpusConversation, limit: int = LIMIT) -> Reply:
        """The whole answer to a conversation that ends with a user or a tool message."""
        prompt = render(conversation, prompt=True).encode()
        ids = self.llama.tokenize(prompt, add_bos=False, special=True)
        end = self.llama.token_eos()
        said: list[int] = []
        for token in self.llama.generate(ids, temp=0.0, repeat_penalty=1.0):
            if token == end or len(said) >= min(limit, 2047 - len(ids)):
                break
            said.append(token)
        text = self.llama.detokenize(said, special=True).decode(errors="replace")
        return Reply(text, len(said), len(ids), token == end)

    def say(self, text: str) -> Reply:
        """The answer to a single question."""
        return self.reply(CorpusConversation([{"role": "user", "content": text}]))


@dataclass
class EvalScore:
    """The counts of one group."""

    asked: int = 0
    right: int = 0
    ended: int = 0
    longest: int = 0
    prompt_tokens: int = 0
    wrong: list[list[str]] = field(default_factory=list)

    def add(self, case: Case, reply: Reply) -> None:
        """Count one answer."""
        good = reply.ended and case.check(reply.text)
        self.asked += 1
        self.right += good
        self.ended += reply.ended
        self.longest = max(self.longest, reply.tokens)
        self.prompt_tokens = max(self.prompt_tokens, reply.prompt_tokens)
        if not good and len(self.wrong) < SHOWN:
            self.wrong.append([case.asked, reply.text[:300]])

    @property
    def percent(self) -> float:
        """Right answers of a hundred."""
        return round(100 * self.right / self.asked, 1)


def score(model: ServedTiny, cases: Iterable[Case]) -> EvalScore:
    """Ask every case of a group."""
    found = EvalScore()
    for case in cases:
        found.add(case, model.reply(case.conversation))
    return found
