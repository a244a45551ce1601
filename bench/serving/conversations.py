"""Conversations as people and programs have them: drawn from a seed, the same for every system.

Pure. Words are tokens of the model at hand (see ``prompts``), so lengths in words are lengths in
tokens, or nearly. Lengths are log-normal, as those of real requests are: many short, a few long.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, replace

from .client import Messages
from .prompts import Prompts
from .repeats import PIECE


@dataclass(frozen=True, slots=True)
class Lengths:
    """A log-normal distribution, cut at both ends; with ``sigma`` 0 all are the median."""

    median: float
    sigma: float
    least: int
    most: int

    def draw(self, rng: random.Random) -> int:
        drawn = self.median * math.exp(self.sigma * rng.gauss(0, 1))
        return min(self.most, max(self.least, round(drawn)))

    def scaled(self, by: float) -> Lengths:
        """The same shape for a model with less room; nothing is longer than before."""
        by = min(1.0, by)
        least, most = max(1, int(self.least * by)), max(1, int(self.most * by))
        return replace(self, median=self.median * by, least=least, most=most)


@dataclass(frozen=True, slots=True)
class Turn:
    """The messages that a client adds to the conversation, and the tokens of the answer."""

    added: Messages
    max_tokens: int


Conversation = tuple[Turn, ...]
"""Each turn goes out with all messages before it, the answers among them."""


@dataclass(frozen=True, slots=True)
class Talk:
    """Lengths of questions in words, of answers in tokens."""

    words: Lengths
    tokens: Lengths


CHAT = Talk(Lengths(90, 0.7, 8, 700), Lengths(60, 0.6, 12, 300))
LONG = Talk(Lengths(1240, 0.2, 900, 1700), Lengths(68, 0.2, 48, 96))
RESULT = Lengths(600, 0.7, 200, 2000)
"""Of what a tool gives back, in tokens."""
SYSTEM_WORDS, TOOLS = 700, 8
REST = 96
"""Tokens for the template, and for words that are more than one."""


def chats(prompts: Prompts, number: int, room: int, talk: Talk = CHAT) -> list[Conversation]:
    """One question and one answer each, which fit into ``room`` tokens."""
    by = (room - REST) / (talk.words.most + talk.tokens.most)
    words, tokens = talk.words.scaled(by), talk.tokens.scaled(by)
    return [
        (Turn(prompts.chat(words.draw(prompts.rng)), tokens.draw(prompts.rng)),)
        for _ in range(number)
    ]


def mixed(prompts: Prompts, number: int, room: int, one_in: int = 4) -> list[Conversation]:
    """Of each ``one_in`` conversations one is long, the others are chats."""
    long, short = chats(prompts, number, room, LONG), chats(prompts, number, room)
    return [long[at] if at % one_in == 1 % one_in else short[at] for at in range(number)]


def agents(prompts: Prompts, number: int, room: int, turns: int) -> list[Conversation]:
    """Agents that share a system prompt, and get a tool's result after each answer but the last."""
    system = {"role": "system", "content": tools(prompts, min(SYSTEM_WORDS, room // 4))}
    left = room - min(SYSTEM_WORDS, room // 4) - REST * turns
    answers = CHAT.tokens.scaled(left / (4 * turns * CHAT.tokens.most))
    question = CHAT.words.scaled(left / (4 * CHAT.words.most))
    found = []
    for _ in range(number):
        lengths = [answers.draw(prompts.rng) for _ in range(turns)]
        asked = question.draw(prompts.rng)
        results = fitted(
            [RESULT.draw(prompts.rng) for _ in range(turns - 1)], left - asked - sum(lengths)
        )
        added = [[system, *prompts.chat(asked)], *(tool_result(prompts, n) for n in results)]
        found.append(tuple(map(Turn, added, lengths)))
    return found


def fitted(lengths: list[int], room: int) -> list[int]:
    """The lengths as they are if they fit together, else all shorter by the same factor."""
    total = sum(lengths)
    return lengths if total <= room else [max(1, length * room // total) for length in lengths]


def tools(prompts: Prompts, words: int) -> str:
    """A system prompt of about so many words and marks: descriptions of tools, instructions."""
    said = ["You are an agent. You may use these tools:"]
    for _ in range(TOOLS):
        name, one, other = (prompts.text(1).strip() for _ in range(3))
        described = {one: prompts.text(words // 50).strip(), other: "string"}
        said.append(
            json.dumps(
                {"name": name, "description": prompts.text(words // 25).strip(),
                 "parameters": described}
            )
        )  # fmt: skip
    rest = words - sum(len(PIECE.findall(line)) for line in said)
    return "\n".join(said) + "\n" + prompts.text(max(1, rest))


def tool_result(prompts: Prompts, words: int) -> Messages:
    """A tool's result as a template writes it: every server takes a user's message alike."""
    return [{"role": "user", "content": f"<tool_response>{prompts.text(words)}\n</tool_response>"}]


def edits(prompts: Prompts, number: int, room: int, functions: int) -> list[Conversation]:
    """Files to give back, each for the second time and with some lines changed.

    The first time, with its answer, is part of what is asked, so even a small model knows what to
    do: its greedy answer repeats the changed file.
    """
    functions = max(1, min(functions, (room - REST) // (4 * FUNCTION_TOKENS)))
    found: list[Conversation] = []
    for _ in range(number):
        lines = source(prompts, functions)
        before, after = "\n".join(lines), "\n".join(edited(lines, prompts.rng))
        asked = [
            {"role": "user", "content": before},
            {"role": "assistant", "content": before},
            {"role": "user", "content": after},
        ]
        found.append((Turn(asked, functions * FUNCTION_TOKENS),))
    return found


FUNCTION_TOKENS = 56
"""Of a function of ``source`` in SmolLM2's vocabulary. Where it takes fewer, an answer goes on."""


def source(prompts: Prompts, functions: int) -> list[str]:
    """The lines of a program whose names are the model's words."""
    lines = []
    for _ in range(functions):
        a, b, c, d, e = (prompts.text(1).strip() for _ in range(5))
        more, most = prompts.rng.randint(2, 99), prompts.rng.randint(100, 999)
        lines += [
            f"def {a}_{b}({c}, {d}):", f'    """Return the {e} of a {c} and a {d}."""',
            f"    {e} = {c} * {more} + {d}", f"    if {e} > {most}:",
            f'        raise ValueError("{a} {b}")', f"    return {e}", "",
        ]  # fmt: skip
    return lines


def edited(lines: list[str], rng: random.Random, one_in: int = 10) -> list[str]:
    """The same file with other numbers in some lines: at least one."""
    numbered = [at for at, line in enumerate(lines) if any(map(str.isdigit, line))]
    changed = {*rng.sample(numbered, max(1, len(lines) // one_in // 2))}
    return [
        line.replace("* ", "* 1").replace("> ", "> 1") if at in changed else line
        for at, line in enumerate(lines)
    ]
