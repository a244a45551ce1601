"""A model's chat template: messages in, prompt text out.

Templates come with the model file, so they run in Jinja's immutable sandbox. The environment is
the one the model authors write for (Hugging Face's chat templates): trimmed blocks, loop
controls, ``tojson`` without HTML escapes, ``raise_exception`` and ``strftime_now``.
"""

import json
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

FALLBACK = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
"""For models that bring no template: ChatML, the most widespread one."""


class TemplateFailed(Exception):
    """The template refused these messages; the text is fit for the client."""


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
    )


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for trainers; for a prompt it is nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's interface)

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template. Raises :class:`TemplateFailed` if the source itself is broken."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise TemplateFailed(f"the model's chat template is broken: {error}") from error
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(self, messages: list[dict[str, Any]], now: float) -> str:
        """The prompt for the assistant's next turn; ``now`` (Unix s) is the date templates see."""
        moment = datetime.fromtimestamp(now)
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=True,
                strftime_now=moment.strftime,
                **self._tokens,
            )
        except (
            jinja2.TemplateError,
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise TemplateFailed(f"the model's chat template refused: {error}") from error
