"""A model's way to write thoughts and tool calls, told from its chat template. Pure.

:func:`detect` reads the template's source. Its :class:`ChatFormat` adapts messages to the
template, writes the grammar that binds the model to valid calls, and parses what the model wrote.
"""

from workers.chat_format.detect import detect, starts_thinking
from workers.chat_format.escaped_regex import NotQuotable
from workers.chat_format.formats import CallFormat, ChatFormat
from workers.chat_format.grammar import text_rule
from workers.chat_format.output import OutputParser, ParsedOutput, together
from workers.chat_format.text_in_json import text_in_json
from workers.chat_format.thoughts import Thoughts

__all__ = [
    "CallFormat",
    "OutputParser",
    "ChatFormat",
    "NotQuotable",
    "ParsedOutput",
    "Thoughts",
    "detect",
    "starts_thinking",
    "text_in_json",
    "text_rule",
    "together",
]
