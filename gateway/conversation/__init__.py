"""One model of a conversation, which every dialect's parser makes and prompts are made of. Pure.

A conversation is a list of :class:`Turn`, in the order in which it was held:

- ``Turn("system", [...])``: instructions. They may stand anywhere and stay where they are: the
  worker joins a leading run, and writes a later one in its place, as the user's text where the
  model's template takes none there (:mod:`workers.template.turns`). So the bytes of a conversation
  that goes on begin with those that it had, and so does its cached prefix.
- ``Turn("user", [...])``: texts and media.
- ``Turn("assistant", [...])``: thoughts, texts and calls.
- ``Turn("tool", [...], call_id="...")``: the result of one call: texts and media.

Its blocks are :class:`TextBlock`, :class:`ThoughtBlock`, :class:`CallBlock` and
:class:`MediaBlock`. A dialect whose assistant speaks in items (a thought, a text and each call for
itself) makes a turn of each and joins them with :func:`gathered`. :func:`rendered` makes the
messages of :class:`workers.protocol.Chat`, and is where media meet what the model can take;
:func:`tool_use` and :func:`function_tool` make its tools.
"""

from gateway.conversation.arguments import MAX_DEPTH, arguments, deeper, written
from gateway.conversation.rendering import Omitted, TemplateMessage, rendered
from gateway.conversation.tools import FUNCTION_NAME, function_tool, tool_use
from gateway.conversation.turns import (
    ALL_SENSES,
    BLIND,
    SENSES,
    AnyBlock,
    CallBlock,
    MediaBlock,
    MediaOrigin,
    Role,
    Sense,
    Senses,
    TextBlock,
    ThoughtBlock,
    Turn,
    gathered,
)

__all__ = [
    "ALL_SENSES",
    "BLIND",
    "FUNCTION_NAME",
    "MAX_DEPTH",
    "SENSES",
    "AnyBlock",
    "CallBlock",
    "MediaBlock",
    "MediaOrigin",
    "Omitted",
    "Role",
    "Sense",
    "Senses",
    "TemplateMessage",
    "TextBlock",
    "ThoughtBlock",
    "Turn",
    "arguments",
    "deeper",
    "function_tool",
    "gathered",
    "rendered",
    "tool_use",
    "written",
]
