"""A model's chat template: messages in, prompt text out.

Templates come with the model file, so they run in Jinja's immutable sandbox, which keeps them from
reaching anything. It does not keep them from running for ever: see `workers.template.sandbox` for
that. The environment is the one the model authors write for (Hugging Face's chat templates):
trimmed blocks, loop controls, ``tojson`` without HTML escapes, ``raise_exception`` and
``strftime_now``. Where that one fails and llama.cpp's does not, it does as llama.cpp: ``safe`` text
is no reason to escape what stands beside it, ``tojson`` takes what ``map`` gives, ``date_string``
and ``datetime`` are today's. ``functions`` is a text of the tools, as Firefunction reads them.
"""

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from workers.template.sources import TemplateFailed, TemplateRefused

ROOM = 1 << 20
GROWTH = 16
"""A prompt may have so many characters, and so many times those of the messages: real templates add
a few for each message, and a system prompt of their own."""
SHOWN = 500
"""Characters of a template's error that are passed on."""


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_listed,
    )


def _listed(value: Any) -> list[Any]:
    """The result of filters such as ``map``, before it became a list."""
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for trainers; for a prompt it is nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's interface)

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _expected(tree: nodes.Template) -> dict[str, bool]:
    """Return the variables that a template takes for granted, as llama-server sets them.

    llama.cpp's own templates of DeepSeek R1, QwQ and Command R7B close a thought with nothing but
    ``{% if not enable_thinking %}``: without the variable these models would never think. One that
    looks whether it is defined, has a default, or thinks only if it is told to, stays untold.
    """
    found = [each for each in tree.find_all(nodes.Name) if each.name == "enable_thinking"]
    denied = {id(each.node) for each in tree.find_all(nodes.Not)}
    taken = found and all(id(each) in denied for each in found)
    return {"enable_thinking": True} if taken else {}


class ChatTemplate:
    """A compiled template. Raises :class:`TemplateFailed` if the source itself is broken."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.filters["safe"] = str  # Jinja's would have what is added to it escaped
        environment.globals["raise_exception"] = _raise
        try:
            self._expected = _expected(environment.parse(source))
            self._template = environment.from_string(source)
        except Exception as error:
            # Jinja's parser, its optimiser, which runs constant expressions, and Python's compiler:
            # whatever they find wrong (MemoryError: too many parentheses) is wrong with the source.
            raise TemplateFailed(f"the model's chat template is broken: {_told(error)}") from error
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(
        self,
        messages: list[dict[str, Any]],
        now: float,
        tools: list[dict[str, Any]] | None = None,
        arguments: dict[str, Any] | None = None,
        *,
        opens: bool = True,
    ) -> str:
        """The prompt for the assistant's next turn; ``now`` (Unix s) is the date templates see.

        ``arguments`` are more variables for the template; what we set ourselves they can't change.
        ``opens`` False: the text ends with the last message, and no turn is begun after it.
        Raises :class:`TemplateRefused`, :class:`TemplateFailed` for a prompt that is out of all
        proportion, and MemoryError.
        """
        strftime = datetime.fromtimestamp(now).strftime
        variables = {
            "date_string": strftime("%d %b %Y"),  # Llama 3.1 takes one of 2024 for today's without
            "datetime": strftime("%b %d %Y"),
            **self._expected,
            **({} if tools is None else {"functions": _functions(tools)}),
            **(arguments or {}),
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": opens,
            "strftime_now": strftime,
            "raise_exception": _raise,
            **self._tokens,
        }
        given = _characters(messages) + _characters(tools) + _characters(arguments)
        room = ROOM + GROWTH * given
        try:
            try:
                return self._written(variables, room)
            except (TypeError, jinja2.UndefinedError):
                if tools is not None:
                    raise
                # Templates of their own for tools go through them without a look whether there are.
                with contextlib.suppress(jinja2.TemplateError, TypeError):
                    return self._written({"functions": "", **variables, "tools": []}, room)
                raise
        except (TemplateFailed, MemoryError):
            raise
        except Exception as error:  # a template can bring any operation of Python's to fail
            raise TemplateRefused(f"the model's chat template refused: {_told(error)}") from error

    def probe(self, conversations: list[list[dict[str, Any]]], now: float) -> list[str | None]:
        """The prompts of several conversations; None for one that the template refuses."""
        return [self._probed(messages, now) for messages in conversations]

    def _probed(self, messages: list[dict[str, Any]], now: float) -> str | None:
        try:
            return self.render(messages, now)
        except TemplateFailed:
            return None

    def _written(self, variables: dict[str, Any], room: int) -> str:
        """Raises whatever the template brings about, and TemplateFailed without ``room``."""
        pieces = []
        for piece in self._template.generate(variables):
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise TemplateFailed(
                    "the model's chat template made a prompt out of all proportion"
                )
        return "".join(pieces)


def _functions(tools: list[dict[str, Any]]) -> str:
    """The tools as a text of JSON, without what says that they are functions."""
    return _to_json([tool.get("function", tool) for tool in tools], indent=4)


def _characters(value: Any) -> int:
    """Characters of all strings in a JSON value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, (*value, *value.values())))
    return sum(map(_characters, value)) if isinstance(value, list) else 0


def _told(error: Exception) -> str:
    """An error of Jinja's or Python's in one line that can be encoded."""
    text = str(error)
    if isinstance(error, jinja2.TemplateSyntaxError):  # its text quotes the source
        text = f"line {error.lineno}: {error.message}"
    text = " ".join(text[: 2 * SHOWN].split())[:SHOWN] or type(error).__name__
    return text.encode("utf-8", "replace").decode()
