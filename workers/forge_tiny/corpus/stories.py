"""Stories put together from parts: a hero, a wish, episodes, an ending; short and long."""

from __future__ import annotations

import re
from random import Random

from .message import Message, exchange
from .wording import rough
from .words import ANIMALS, COLOURS, FIRST_NAMES, FRUITS, listed

_TRAITS = listed(
    "small brave clever shy kind curious quiet happy lazy old young friendly hungry careful"
)
_PLACES = listed(
    "in a green forest|by a quiet lake|on a high hill|near an old mill|in a small village|"
    "at the edge of a wide field|"
    "under a big oak tree|beside a cold river|on a little island|behind the old garden wall"
)
_WISHES = listed(
    "wanted to see the sea|was looking for a friend|dreamed of a warm house|"
    "wanted to learn to sing|"
    "wanted to find the lost key|wished for a long journey|wanted to bake a cake|"
    "hoped to see a star fall|"
    "wanted to build a boat|was looking for a golden bell"
)
_MORNINGS = listed(
    "One morning {h} woke up early and packed some bread.|"
    "One day {h} closed the door and walked away.|"
    "One sunny day {h} set out with a {c} bag.|"
    "One evening {h} saw a light far away and followed it.|"
    "One cold morning {h} put on a {c} hat and left."
)
_MEETINGS = listed(
    "On the way {h} met a {t} {a}.|Soon {h} saw a {t} {a} on the road.|"
    "Near a bridge stood a {t} {a}.|"
    "After a while a {t} {a} came along.|Behind a tree sat a {t} {a}."
)
_TALKS = listed(
    '"Where are you going?" asked the {a}.|"Can you help me?" asked the {a}.|'
    '"Who are you?" said the {a}.|'
    '"May I come with you?" asked the {a}.|"I am lost," said the {a}.'
)
_REPLIES = listed(
    '"Come with me," said {h}.|"Let us go together," said {h}.|{h} gave the {a} a {f} and smiled.|'
    "{h} listened and thought for a while.|{h} was glad not to be alone."
)
_TROUBLES = listed(
    "Then it began to rain, and they hid under a {c} leaf.|"
    "Then the wind blew and the path was gone.|"
    "Suddenly they heard a loud noise in the dark.|"
    "The river was deep, so they built a bridge of wood.|"
    "They came to a {c} door, but it was closed.|Night came and they made a small fire.|"
    "A big stone lay on the path, and they pushed it away together."
)
_TURNS = listed(
    "In the morning the sun was shining again.|After that they felt much better.|"
    "They shared a {f} and laughed.|"
    "They were tired, but they did not give up.|They sang a song and walked on.|"
    "Nobody was afraid any more."
)
_FINDS = listed(
    "At last {h} found what was missing.|In the end the wish came true.|"
    "Finally they reached the place.|"
    "Then {h} saw it: it had been close to home all the time.|"
    "At the end of the road everything was clear."
)
_ENDINGS = listed(
    "From that day on they were best friends.|And they all went home happily.|"
    "{h} never forgot that day.|"
    "And {h} slept well that night.|They still tell the story today.|And everybody was happy."
)

_SHORT = (
    "tell me a story", "tell me a short story", "tell a story", "a short story please", "story",
    "write a story",
    "write a short story", "can you tell me a story?", "I want to hear a story",
    "tell me a little story", "a story",
    "give me a short story", "make up a story", "do you know a story?", "please tell me a story",
    "short story",
    "can you write a short story?", "tell me a bedtime story", "tell me a tale", "write me a story",
    "I am bored, tell me a story",
)  # fmt: skip
_ABOUT = (
    "tell me a story about {x}", "write a story about {x}", "a story about {x}",
    "tell me a short story about {x}",
    "write a short story about {x}", "can you tell me a story about {x}?", "story about {x}",
    "I want a story about {x}",
    "make up a story about {x}", "tell a story with {x}",
)  # fmt: skip
_LONG = (
    "tell me a long story", "write a long story", "a long story please", "long story",
    "can you tell me a long story?",
    "I want to hear a long story", "tell me a very long story", "give me a long story",
    "please write a long story",
    "tell me a longer story", "write me a long story", "make up a long story",
    "tell a really long story",
)  # fmt: skip
_AGAIN = (
    "another one", "one more", "tell me another one", "another story", "again",
    "one more story please", "more",
)  # fmt: skip

HELD_OUT_SHORT = (
    "could you make up a short story for me?", "I would like a short story", "let me hear a story",
)  # fmt: skip
HELD_OUT_LONG = (
    "could you write a long story for me?", "I would like a long story", "let me hear a long story",
)  # fmt: skip


def _hero(rng: Random, kind: str | None) -> tuple[str, str]:
    """A name and the sentence that introduces it."""
    name = rng.choice(FIRST_NAMES)
    kind = kind or rng.choice((*ANIMALS, "girl", "boy", "woman", "man", "king", "robot"))
    place, trait, wish = rng.choice(_PLACES), rng.choice(_TRAITS), rng.choice(_WISHES)
    if rng.random() < 0.6:
        opening = f"Once upon a time a {trait} {kind} called {name} lived {place}."
    else:
        opening = f"There once was a {trait} {kind} {place}. The name of the {kind} was {name}."
    return name, f"{opening} {name} {wish}."


def _episode(rng: Random, hero: str) -> list[str]:
    words = {
        "h": hero, "a": rng.choice(ANIMALS), "t": rng.choice(_TRAITS), "c": rng.choice(COLOURS),
        "f": rng.choice(FRUITS),
    }  # fmt: skip
    parts = (_MEETINGS, _TALKS, _REPLIES, _TROUBLES, _TURNS)
    return [rng.choice(part).format(**words) for part in parts]


def _articles(text: str) -> str:
    """ "an" where a vowel follows."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def story(rng: Random, episodes: int, kind: str | None = None) -> str:
    """A story of about 60 + 70 * episodes tokens; long ones have a paragraph per episode."""
    hero, opening = _hero(rng, kind)
    start = rng.choice(_MORNINGS).format(h=hero, c=rng.choice(COLOURS))
    end = f"{rng.choice(_FINDS)} {rng.choice(_ENDINGS)}".format(h=hero)
    if episodes < 2:
        body = _episode(rng, hero)[: 2 + 3 * episodes]
        return _articles(" ".join([opening, start, *body, end]))
    paragraphs = [" ".join(_episode(rng, hero)) for _ in range(episodes)]
    return _articles("\n\n".join([f"{opening} {start}", *paragraphs, end]))


def turns(rng: Random) -> list[Message]:
    """One request for a story and the story; sometimes a second one follows."""
    if rng.random() < 0.3:
        return exchange(rough(rng, rng.choice(_LONG)), story(rng, rng.randint(3, 5)))
    if rng.random() < 0.4:
        kind = rng.choice((*ANIMALS, "girl", "boy", "king", "robot"))
        thing = rng.choice(("a ", "a ", "the ", "a little ")) + kind
        asked = rough(rng, rng.choice(_ABOUT).format(x=thing))
        return exchange(asked, story(rng, rng.randint(0, 1), kind))
    first = exchange(rough(rng, rng.choice(_SHORT)), story(rng, rng.randint(0, 1)))
    if rng.random() < 0.12:
        first += exchange(rough(rng, rng.choice(_AGAIN)), story(rng, rng.randint(0, 1)))
    return first
