"""Counting and lists: answers whose length the question fixes."""

from __future__ import annotations

from random import Random

from .message import Message, exchange
from .wording import rough
from .words import ANIMALS, CITIES, COLOURS, COUNTRIES, FIRST_NAMES, FRUITS, VEGETABLES, listed

THINGS = {
    "animals": ANIMALS, "fruits": FRUITS, "colours": COLOURS, "colors": COLOURS,
    "vegetables": VEGETABLES,
    "cities": CITIES, "countries": COUNTRIES, "names": FIRST_NAMES,
}  # fmt: skip
_DAYS = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday."
_MONTHS = (
    "January, February, March, April, May, June, July, August, September, October, November, "
    "December."
)
_ALPHABET = "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z."

_SOME = (
    "list {n} {w}", "name {n} {w}", "give me {n} {w}", "tell me {n} {w}", "write a list of {n} {w}",
    "{n} {w}", "tell me the names of {n} {w}", "think of {n} {w}", "show me {n} {w}",
    "could you list {n} {w}?", "could you give me {n} {w}?", "what are {n} {w}?", "I want {n} {w}",
    "do you know {n} {w}?", "write {n} {w}", "please name {n} {w}", "can you write down {n} {w}?",
    "would you name {n} {w}?", "note down {n} {w}", "come up with {n} {w}", "exactly {n} {w}",
    "mention {n} {w}", "pick {n} {w}", "enumerate {n} {w}", "name me {n} {w}",
    "give me a list of {n} {w}", "can you list {n} {w}?", "I need {n} {w}",
    "make a list of {n} {w}", "{n} {w} please",
    "a list of {n} {w}", "can you name {n} {w}?",
)  # fmt: skip
_ANY = (
    "list some {w}", "name some {w}", "a list of {w}", "write a list of {w}",
    "give me a list of {w}",
)  # fmt: skip
_COUNT = (
    "count to {n}", "count from 1 to {n}", "count up to {n}", "list the numbers from 1 to {n}",
    "numbers from 1 to {n}",
    "can you count to {n}?", "please count to {n}", "count 1 to {n}",
    "write the numbers from 1 to {n}", "say the numbers 1 to {n}",
    "list the numbers 1 to {n}", "can you count from 1 to {n}?",
    "give me the numbers from 1 to {n}", "numbers 1 to {n}", "could you count to {n}?",
    "count for me up to {n}", "begin at 1 and count to {n}", "write down the numbers 1 to {n}",
    "I want the numbers from 1 to {n}", "please list the numbers 1 to {n}", "1 to {n}",
    "all numbers from 1 to {n}", "note down the numbers from 1 to {n}", "would you count to {n}?",
    "count from one to {n}", "show me the numbers from 1 to {n}", "let me hear you count to {n}",
    "write all the numbers up to {n}", "I would like you to count to {n}", "counting to {n}",
)  # fmt: skip
_SPAN = (
    "count from {m} to {n}", "list the numbers from {m} to {n}", "numbers from {m} to {n}",
    "count {m} to {n}",
)  # fmt: skip
_DOWN = (
    "count down from {n}", "count backwards from {n}", "countdown from {n}",
    "count down from {n} to 1", "count backwards from {n} to 1", "can you count down from {n}?",
    "could you count backwards from {n}?", "the numbers from {n} down to 1",
)  # fmt: skip
_WRAPPED = (
    "can you {x}?", "would you {x}?", "please {x}", "{x} for me", "can you {x} for me?",
    "would you please {x}", "I want you to {x}", "I need you to {x}", "you should {x}", "now {x}",
    "go ahead and {x}", "{x} now", "hi, {x}", "my wish: {x}", "{x}, if you can", "so {x}, ok?",
)  # fmt: skip
"""Around a whole request; none of them makes one of those held out below."""
_SERIES = (
    (("list the days of the week", "name the days of the week", "what are the days of the week?",
     "the days of the week",
      "which days does a week have?", "tell me the days of the week", "weekdays"), _DAYS),
    (("list the months", "name the months", "what are the months of the year?",
     "the months of the year",
      "which months are there?", "tell me the months", "list the twelve months"), _MONTHS),
    (("say the alphabet", "list the letters", "what is the alphabet?", "write the alphabet",
     "the alphabet",
      "tell me the alphabet", "abc", "list the letters of the alphabet"), _ALPHABET),
)  # fmt: skip

HELD_OUT_COUNT = (
    "could you count up to {n} for me?", "please write down the numbers from 1 to {n}",
    "start at 1 and count to {n}",
)  # fmt: skip
HELD_OUT_SOME = ("could you name {n} {w}?", "please write down {n} {w}", "I would like {n} {w}")
_WORDS = listed("zero one two three four five six seven eight nine ten")
SPELLED = dict(enumerate(_WORDS)) | {
    12: "twelve", 15: "fifteen", 20: "twenty", 30: "thirty", 50: "fifty", 100: "a hundred"
}  # fmt: skip


def counting(first: int, last: int) -> str:
    """The numbers from first to last, either way, as the model is taught to write them."""
    step = 1 if last >= first else -1
    return ", ".join(str(n) for n in range(first, last + step, step)) + "."


def _numbered(rng: Random, count: int, pool: list[str]) -> str:
    """A numbered list that starts anywhere in the pool and goes on in its order.

    After its first item a list is fixed, so even a small model never repeats one.
    """
    start = rng.randrange(len(pool))
    chosen = [*pool, *pool][start : start + count]
    return "\n".join(f"{i}. {word}" for i, word in enumerate(chosen, 1))


def _count(rng: Random) -> list[Message]:
    kind = rng.random()
    if kind < 0.12:
        n = rng.randint(3, 30)
        return exchange(rough(rng, rng.choice(_DOWN).format(n=n)), counting(n, 1))
    rounded = rng.random() < 0.4
    n = rng.choice((5, 10, 10, 15, 20, 20, 30, 50, 100)) if rounded else rng.randint(3, 60)
    if kind < 0.27:
        m = rng.randint(0, 80)
        n = m + rng.randint(2, 25)
        return exchange(rough(rng, rng.choice(_SPAN).format(m=m, n=n)), counting(m, n))
    shown = SPELLED.get(n, str(n)) if rng.random() < 0.25 else str(n)
    return exchange(rough(rng, rng.choice(_COUNT).format(n=shown)), counting(1, n))


def varied_turns(rng: Random) -> list[Message]:
    """The same, asked in more ways."""
    asked, told = turns(rng)
    if rng.random() < 0.35:
        text = asked["content"].rstrip("?.!")
        asked = {**asked, "content": rng.choice(_WRAPPED).format(x=text)}
    return [asked, told]


def turns(rng: Random) -> list[Message]:
    """One request and its list."""
    kind = rng.random()
    if kind < 0.4:
        return _count(rng)
    if kind < 0.52:
        asks, answer = rng.choice(_SERIES)
        return exchange(rough(rng, rng.choice(asks)), answer)
    what = rng.choice(list(THINGS))
    if kind < 0.6:
        ask = rough(rng, rng.choice(_ANY).format(w=what))
        return exchange(ask, _numbered(rng, 5, THINGS[what]))
    count = rng.randint(2, 14) if rng.random() < 0.9 else rng.choice((15,))
    shown = _WORDS[count] if count <= 10 and rng.random() < 0.3 else str(count)
    ask = rng.choice(_SOME).format(n=shown, w=what)
    return exchange(rough(rng, ask), _numbered(rng, count, THINGS[what]))
