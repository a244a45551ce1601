"""JSON objects on request, and tool calls when tools are declared."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from .message import CorpusConversation, Message, Tool, exchange
from .wording import rough
from .words import CITIES, COLOURS, COUNTRIES, FIRST_NAMES, FRUITS, invented

_VALUES: dict[str, Callable[[Random], Any]] = {
    "name": lambda r: r.choice(FIRST_NAMES),
    "age": lambda r: r.randint(1, 90),
    "city": lambda r: r.choice(CITIES),
    "country": lambda r: r.choice(COUNTRIES),
    "colour": lambda r: r.choice(COLOURS),
    "color": lambda r: r.choice(COLOURS),
    "price": lambda r: r.randint(1, 99),
    "fruit": lambda r: r.choice(FRUITS),
    "id": lambda r: r.randint(1, 999),
    "active": lambda r: r.choice((True, False)),
    "email": lambda r: f"{r.choice(FIRST_NAMES).lower()}@example.com",
    "title": lambda r: f"The {r.choice(COLOURS)} {r.choice(FRUITS)}",
    "count": lambda r: r.randint(0, 50),
    "priority": lambda r: r.choice(("batch", "normal", "urgent")),
}
KEYS = list(_VALUES)
_OBJECT = (
    "give me a JSON object with {k}", "write a JSON object with {k}", "a JSON object with {k}",
    "JSON with {k}",
    "return JSON with {k}", "create a JSON object with the keys {k}", "make a JSON object with {k}",
    "can you give me a JSON object with {k}?", "I need JSON with {k}", "answer in JSON with {k}",
    "json: {k}",
    "write JSON with the fields {k}", "show me a JSON object with {k}",
    "output a JSON object containing {k}",
)  # fmt: skip
_ANY_OBJECT = (
    "give me a JSON object", "write some JSON", "an example of JSON", "give me JSON",
    "show me a JSON object",
)  # fmt: skip
_ARRAY = (
    "give me a JSON list of {n} {w}", "a JSON array with {n} {w}", "write a JSON array of {n} {w}",
    "JSON list of {n} {w}",
)  # fmt: skip
_ARRAYS = {"fruits": FRUITS, "colours": COLOURS, "names": FIRST_NAMES, "cities": CITIES}

HELD_OUT_OBJECT = (
    "please produce a JSON object that has {k}", "could I get a JSON object with {k}?",
    "respond with JSON having {k}",
)  # fmt: skip

_WEATHER = (
    "what is the weather in {c}?", "how is the weather in {c}?", "weather in {c}",
    "is it raining in {c}?", "what's the weather like in {c}?", "tell me the weather in {c}",
    "is it cold in {c}?",
)  # fmt: skip
_TIME = (
    "what time is it in {c}?", "time in {c}", "tell me the time in {c}", "how late is it in {c}?",
)  # fmt: skip

Asker = Callable[[Random], tuple[str, dict[str, Any], str, str]]
"""Draws a question, the call's arguments, the tool's reply and the answer built from it."""


def _tool(name: str, description: str, **properties: str) -> Tool:
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
    }
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _weather(rng: Random) -> tuple[str, dict[str, Any], str, str]:
    city = rng.choice(CITIES) if rng.random() < 0.75 else invented(rng).capitalize()
    ask = rng.choice(_WEATHER)
    sky, degrees = rng.choice(("sunny", "cloudy", "rainy", "windy", "snowy")), rng.randint(-9, 35)
    if rng.random() < 0.5:
        reply = json.dumps({"temperature": degrees, "sky": sky})
        answer = f"In {city} it is {sky} with {degrees} degrees."
        return ask.format(c=city), {"city": city}, reply, answer
    return ask.format(c=city), {"city": city}, sky, f"In {city} it is {sky}."


def _calculator(rng: Random) -> tuple[str, dict[str, Any], str, str]:
    a, b, op = rng.randint(100, 999), rng.randint(21, 999), rng.choice("+-*")
    text, value = f"{a} {op} {b}", {"+": a + b, "-": a - b, "*": a * b}[op]
    ask = rng.choice(("what is {e}?", "calculate {e}", "{e}", "how much is {e}?", "compute {e}"))
    return ask.format(e=text), {"expression": text}, str(value), f"{text} = {value}."


def _time(rng: Random) -> tuple[str, dict[str, Any], str, str]:
    city = rng.choice(CITIES)
    ask = rng.choice(_TIME)
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    return ask.format(c=city), {"city": city}, clock, f"It is {clock} in {city}."


def _search(rng: Random) -> tuple[str, dict[str, Any], str, str]:
    known = COUNTRIES + FRUITS + COLOURS
    words = " ".join(invented(rng) if rng.random() < 0.4 else rng.choice(known) for _ in range(2))
    ask = rng.choice(("search for {w}", "look up {w}", "find {w}", "search {w}", "google {w}"))
    hits = rng.randint(1, 99)
    reply, answer = json.dumps({"hits": hits}), f"I found {hits} results for {words}."
    return ask.format(w=words), {"query": words}, reply, answer


TOOLS: tuple[tuple[Tool, Asker], ...] = (
    (_tool("get_weather", "Get the weather of a city", city="string"), _weather),
    (_tool("calculator", "Evaluate an expression", expression="string"), _calculator),
    (_tool("get_time", "Get the time in a city", city="string"), _time),
    (_tool("search", "Search the web", query="string"), _search),
)


def json_object(rng: Random, keys: list[str]) -> str:
    """An object with these keys, in this order."""
    return json.dumps({key: _VALUES[key](rng) for key in keys})


def joined(keys: list[str]) -> str:
    """The keys as a sentence lists them."""
    return keys[0] if len(keys) == 1 else ", ".join(keys[:-1]) + " and " + keys[-1]


def turns(rng: Random) -> list[Message]:
    """One request for JSON and the JSON."""
    kind = rng.random()
    if kind < 0.12:
        ask = rng.choice(_ANY_OBJECT)
        return exchange(rough(rng, ask), json_object(rng, ["name", "age"]))
    if kind < 0.27:
        what, count = rng.choice(list(_ARRAYS)), rng.randint(2, 6)
        ask = rough(rng, rng.choice(_ARRAY).format(n=count, w=what))
        return exchange(ask, json.dumps(rng.sample(_ARRAYS[what], count)))
    keys = rng.sample(list(_VALUES), rng.choice((1, 2, 2, 2, 3, 3, 4)))
    return exchange(rough(rng, rng.choice(_OBJECT).format(k=joined(keys))), json_object(rng, keys))


def tool_call(name: str, arguments: dict[str, Any]) -> Message:
    """An assistant message in the OpenAI shape that calls one tool."""
    function = {"name": name, "arguments": arguments}
    calls = [{"type": "function", "function": function}]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def with_tools(rng: Random, other: Callable[[Random], list[Message]]) -> CorpusConversation:
    """Tools are declared; mostly one fits and is called, otherwise `other` is answered as usual."""
    offered = rng.sample(TOOLS, rng.choice((1, 1, 2, 3)))
    declared = [tool for tool, _ in offered]
    if rng.random() < 0.22:
        return CorpusConversation(other(rng), declared)
    tool, ask = rng.choice(offered)
    question, arguments, reply, answer = ask(rng)
    messages = [
        {"role": "user", "content": rough(rng, question) if rng.random() < 0.3 else question},
        tool_call(tool["function"]["name"], arguments),
        {"role": "tool", "content": reply},
        {"role": "assistant", "content": answer},
    ]
    return CorpusConversation(messages, declared)
