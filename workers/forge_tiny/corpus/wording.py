"""The way people type: question frames, courtesy, lost capitals and commas, typos.

`FRAMES` ask about a noun phrase. Facts and unknown things share them, so a frame alone never tells
the model which of the two it is looking at. `HELD_OUT_FRAMES` are for the evaluation only.
"""

from __future__ import annotations

import re
from random import Random

from .words import listed

FRAMES = (
    "what is {s}?", "what is {s}?", "what is {s}?", "what's {s}?", "whats {s}", "explain {s}",
    "explain {s} to me", "tell me about {s}", "what does {s} mean?", "how does {s} work?",
    "can you explain {s}?", "could you explain {s}?", "describe {s}", "define {s}", "{s}?", "{s}",
    "what do you know about {s}?", "do you know what {s} is?", "I want to know about {s}",
    "help me understand {s}", "what exactly is {s}?", "what are {s}?", "so what is {s}?",
    "give me a short explanation of {s}", "I do not understand {s}", "what is the point of {s}?",
    "tell me what {s} is", "tell me something about {s}", "I have a question about {s}",
    "how would you describe {s}?", "can you tell me about {s}?", "in short, what is {s}?",
    "why {s}?", "what is {s} for?", "what is {s} good for?", "any idea what {s} is?",
    "what do you mean by {s}?", "what is {s} all about?", "talk about {s}", "can you describe {s}?",
    "can you define {s}?", "what is {s} used for?", "what is the idea of {s}?",
    "explain {s} simply",
    "why do we need {s}?", "why is there {s}?", "what can you tell me about {s}?", "more about {s}",
    "could you tell me about {s}?", "please describe {s}", "what's the deal with {s}?",
    "{s} explained",
    "I am curious about {s}", "how do you explain {s}?", "tell me more about {s}",
    "what is {s} exactly?",
    "explain {s} in one sentence", "what does the term {s} mean?", "meaning of {s}?",
    "can you teach me about {s}?", "let us talk about {s}", "I read about {s}, what is it?",
    "a few words on {s}, please", "I need to know what {s} is", "what is {s} supposed to be?",
    "somebody told me about {s}", "my colleague talks about {s}, what does it mean?",
    "what must I know about {s}?", "how should I think of {s}?", "I never heard of {s}",
    "could you say what {s} is?", "would you explain {s}?", "can you sum up {s}?",
    "what would you say about {s}?", "I wonder what {s} is", "remind me what {s} is",
    "I would love to understand {s}", "what do people mean by {s}?", "introduce me to {s}",
)  # fmt: skip

HELD_OUT_FRAMES = (
    "could you walk me through {s}?", "what is meant by {s}?",
    "I keep hearing about {s}, what is it?",
    "say a few words about {s}", "what should I know about {s}?", "I would like to learn about {s}",
    "please teach me what {s} is",
)  # fmt: skip

FILLERS = listed(
    "you me the a can could would will please about of on for over into with to in from at by "
    "and so then now just really quickly again also maybe kindly let us give show bring take "
    "walk run talk go get put lead help guide teach read look see hear say speak write make "
    "need want like love wish try start begin keep hold turn way word words part bit thing side "
    "idea sense use point it this that what how why who which is are was be do does did have "
    "has had some any more most little short long good best one first next my your our their up "
    "down out off around through across along under before after as if when"
)
_FILLER = frozenset(FILLERS)
"""Words that say nothing about the subject."""

_BEFORE = ("please, ", "hey, ", "hi, ", "hello, ", "ok, ", "so, ", "and ", "well, ",
"one question: ",
           "hi! ", "hello! ", "excuse me, ", "sorry, ", "quick one: ", "question: ")  # fmt: skip
_AFTER = (" please", ", please", " thanks", " for me", ", can you tell me?", " pls")


def frame(rng: Random, subject: str) -> str:
    """A question about `subject` in one of the trained frames."""
    return rng.choice(FRAMES).format(s=subject)


def scrambled(rng: Random, subject: str) -> str:
    """The subject between words that make no sense: what is asked about decides, not the frame."""
    before = rng.choices(FILLERS, k=rng.randint(1, 6))
    after = rng.choices(FILLERS, k=rng.choice((0, 0, 0, 1, 2)))
    return " ".join([*before, subject, *after]) + rng.choice(("?", ""))


def varied_frame(rng: Random, subject: str) -> str:
    """A question about `subject`, now and then in a frame that nobody would use."""
    return scrambled(rng, subject) if rng.random() < 0.35 else frame(rng, subject)


def worn(rng: Random, text: str) -> str:
    """The text with one of its small words lost, changed or added."""
    words = text.split(" ")
    small = [at for at, word in enumerate(words) if word.lower() in _FILLER]
    if small and len(words) > 3 and rng.random() < 0.7:
        at = rng.choice(small)
        words[at : at + 1] = [] if rng.random() < 0.5 else [rng.choice(FILLERS)]
    else:
        words.insert(rng.randrange(len(words) + 1), rng.choice(FILLERS))
    return " ".join(words)


def upper_first(text: str) -> str:
    """The text with a capital at the start."""
    return text[:1].upper() + text[1:]


def typo(rng: Random, text: str) -> str:
    """The text with one slip inside one of its longer words; digits stay as they are."""
    words = list(re.finditer(r"[A-Za-z]{5,}", text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at] + text[at:]


def courteous(rng: Random, text: str) -> str:
    """Now and then a few words before or after the question."""
    if rng.random() < 0.12:
        text = rng.choice(_BEFORE) + text
    if rng.random() < 0.08:
        end = text[-1] if text[-1] in "?.!" else ""
        text = text.rstrip("?.!") + rng.choice(_AFTER) + end
    return text


def rough(rng: Random, text: str) -> str:
    """The text as somebody may type it: any case, punctuation lost or doubled, a typo."""
    text = courteous(rng, text)
    if rng.random() < 0.06:
        text = typo(rng, text)
    kind = rng.random()
    if kind < 0.45:
        text = upper_first(text)
    elif kind < 0.75:
        text = text.lower()
    elif kind < 0.78:
        text = text.upper()
    tail = rng.random()
    if tail < 0.3:
        text = text.rstrip("?.!")
    elif tail < 0.36:
        text = text.rstrip("?.!") + rng.choice((".", "??", "!", " ?", "?!", "..."))
    return text
