"""Small sums with every operand pair that is held out kept away from the training text.

A pair is held out per operation, both orders at once for `+`: about a tenth of the pairs in
0..20 for `+` and `-`. The multiplication table (0..10) is trained whole; only phrasings are new.
"""

from __future__ import annotations

import hashlib
from random import Random

from .message import Message, exchange
from .wording import rough
from .words import listed

WORDS = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)

SMALL = 20
WIDE = 60
TABLE = 10

_EXPRESSION = (
    "{e}", "{e}", "{e} =", "{e} = ?", "{e}=", "{e}=?", "{e}?", "what is {e}?", "what is {e}?",
    "what is {e}?", "what's {e}?", "whats {e}", "calculate {e}", "compute {e}", "how much is {e}?",
    "tell me {e}", "solve {e}", "work out {e}", "I need {e}", "do you know what {e} is?",
    "can you calculate {e}?", "what is the result of {e}?", "what does {e} equal?", "what {e}",
    "what does {e} give?", "what do I get for {e}?", "can you do {e}?", "and {e}?",
    "what about {e}?",
    "evaluate {e}", "the answer to {e}?", "how much does {e} make?", "math: {e}", "{e} is what?",
)  # fmt: skip

_RARER_EXPRESSION = (
    "my friend asks {e}", "the teacher wants {e}", "I wonder what {e} is", "try {e}", "next: {e}",
    "let me see, {e}", "help me with {e}", "now {e}", "find {e}", "say {e}", "{e} makes?",
    "the question is {e}", "would you do {e}?", "can you tell me {e}?", "I have to know {e}",
    "my exercise is {e}", "show me {e}", "{e}, how much is that?", "{e}, what is it?", "do {e}",
    "what number is {e}?", "the book says {e}", "here is a sum: {e}", "please do {e}",
    "give me {e}",
    "let us do {e}", "I got {e}, what is that?", "my child asks {e}", "for school: {e}",
)  # fmt: skip

HELD_OUT_EXPRESSION = (
    "could you tell me what {e} comes to?", "quick question: {e}", "I would like to know {e}",
    "give me the answer to {e}", "{e}, what does that make?", "please figure out {e}",
    "my homework says {e}",
)  # fmt: skip

_SIGNS = {
    "+": ("+", "+", "+", "+", "plus", "plus", "and"),
    "-": ("-", "-", "-", "-", "minus", "minus"),
    "*": ("*", "*", "x", "times", "times", "multiplied by", "×"),  # noqa: RUF001
}

_SENTENCES = {
    "+": ("add {a} and {b}", "add {a} to {b}", "what is the sum of {a} and {b}?", "sum {a} and {b}",
          "I have {a} apples and get {b} more. How many apples do I have?",
          "there are {a} birds and {b} more come. How many birds are there?",
          "can you add {a} and {b}?", "{a} and {b} together?"),
    "-": ("subtract {b} from {a}", "take {b} away from {a}", "take {b} from {a}",
          "I have {a} apples and give away {b}. How many apples are left?",
          "what is {a} less {b}?", "what is left of {a} if I take {b}?"),
    "*": ("multiply {a} by {b}", "multiply {a} and {b}", "what is the product of {a} and {b}?",
          "what do you get when you multiply {a} by {b}?"),
}  # fmt: skip

_OTHER = (
    (
        "which is bigger, {a} or {b}?",
        "which number is larger: {a} or {b}?",
        "is {a} more than {b}?",
    ),
    (
        "what comes after {a}?",
        "which number comes after {a}?",
        "what is the next number after {a}?",
    ),
    ("what comes before {a}?", "which number comes before {a}?"),
)


def held_out(op: str, a: int, b: int) -> bool:
    """Return whether training must never see the pair; decided by a hash, not by a generator."""
    if op == "*" or max(a, b) > SMALL:
        return False
    first, second = (min(a, b), max(a, b)) if op == "+" else (a, b)
    digest = hashlib.sha256(f"forge-tiny {first} {op} {second}".encode()).digest()
    return digest[0] < 26 and (op, a, b) not in {("+", 2, 2), ("+", 1, 1)}


def result(op: str, a: int, b: int) -> int:
    """The right number."""
    return a + b if op == "+" else a - b if op == "-" else a * b


def answer(op: str, a: int, b: int) -> str:
    """The one wording the model is taught, operands repeated."""
    return f"{a} {op} {b} = {result(op, a, b)}."


def pairs(op: str, *, unseen: bool) -> list[tuple[int, int]]:
    """All pairs of the evaluated range, either held out or trained."""
    top = TABLE if op == "*" else SMALL
    every = ((a, b) for a in range(top + 1) for b in range(top + 1))
    return [(a, b) for a, b in every if held_out(op, a, b) == unseen]


def _draw(rng: Random) -> tuple[str, int, int]:
    op = rng.choices("+-*", (45, 38, 17))[0]
    top = TABLE if op == "*" else SMALL if rng.random() < 0.75 else WIDE
    while True:
        a, b = rng.randint(0, top), rng.randint(0, top)
        if not held_out(op, a, b):
            return op, a, b


def _number(rng: Random, value: int, *, spelled: bool) -> str:
    return WORDS[value] if spelled and value <= SMALL else str(value)


def _question(rng: Random, op: str, a: int, b: int, phrasings: tuple[str, ...]) -> str:
    spelled = rng.random() < 0.07
    first, second = _number(rng, a, spelled=spelled), _number(rng, b, spelled=spelled)
    if rng.random() < 0.15:
        return rough(rng, rng.choice(_SENTENCES[op]).format(a=first, b=second))
    sign = rng.choice(_SIGNS[op][3:] if spelled else _SIGNS[op])
    tight = not sign.isalpha() and " " not in sign and not spelled and rng.random() < 0.3
    expression = f"{first}{sign}{second}" if tight else f"{first} {sign} {second}"
    return rough(rng, rng.choice(phrasings).format(e=expression))


def _number_sense(rng: Random) -> list[Message]:
    kind = rng.randrange(3)
    a, b = rng.sample(range(1, 100 if rng.random() < 0.3 else 31), 2)
    question = rough(rng, rng.choice(_OTHER[kind]).format(a=a, b=b))
    if kind == 0:
        yes = ("Yes, " if a > b else "No, ") if "more than" in question.lower() else ""
        return exchange(question, f"{yes}{max(a, b)} is bigger than {min(a, b)}.")
    near = a + 1 if kind == 1 else a - 1
    return exchange(question, f"{near} comes {'after' if kind == 1 else 'before'} {a}.")


def _several(rng: Random) -> list[Message]:
    """A few sums in one message, answered one after the other."""
    drawn = [_draw(rng) for _ in range(rng.randint(2, 6))]
    shown = [f"{a}{op}{b}" if rng.random() < 0.2 else f"{a} {op} {b}" for op, a, b in drawn]
    if rng.random() < 0.5:
        asked = ", ".join(shown[:-1]) + " and " + shown[-1]
    else:
        asked = rng.choice((", ", "; ", " , ")).join(shown)
    question = rough(rng, rng.choice(_EXPRESSION).format(e=asked))
    return exchange(question, " ".join(answer(*sum_) for sum_ in drawn))


def turns(rng: Random) -> list[Message]:
    """One question and its answer."""
    kind = rng.random()
    if kind < 0.07:
        return _number_sense(rng)
    if kind < 0.25:
        return _several(rng)
    op, a, b = _draw(rng)
    phrasings = _RARER_EXPRESSION if rng.random() < 0.35 else _EXPRESSION
    return exchange(_question(rng, op, a, b, phrasings), answer(op, a, b))
