"""Bodies in which everything is wrong: one error is made of them, in every dialect."""

import tracemalloc
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.api.body import parse
from gateway.api.messages.body import MessagesBody
from gateway.api.openai.chat import ChatBody
from gateway.api.openai.completions import CompletionBody
from gateway.api.responses.body import ResponseBody
from gateway.api.responses.conversations import ConversationBody
from gateway.core.errors import BadRequest

MANY = 100_000
WRONG = [1] * MANY
NAMES = dict.fromkeys(map(str, range(MANY)))


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("type_", "raw", "param"),
    [
        (ChatBody, {"messages": WRONG}, "messages.0"),
        (ChatBody, {"messages": [{}] * MANY}, "messages.0.role"),
        (ChatBody, {"messages": user(WRONG)}, "messages.0.content.0"),
        (ChatBody, {"messages": [NAMES]}, "messages.0.role"),
        (ChatBody, NAMES, "0"),
        (CompletionBody, {"prompt": [-1] * MANY}, "prompt.0"),
        (CompletionBody, {"prompt": "x", "stop": WRONG}, "stop.0"),
        (MessagesBody, {"messages": WRONG}, "messages.0"),
        (MessagesBody, {"messages": user(WRONG)}, "messages.0.content.0"),
        (MessagesBody, {"messages": user("x"), "system": WRONG}, "system.0"),
        (MessagesBody, {"messages": user("x"), "tools": WRONG}, "tools.0"),
        (MessagesBody, {"messages": user("x"), "stop_sequences": WRONG}, "stop_sequences.0"),
        (ResponseBody, {"input": WRONG}, "input.0"),
        (ResponseBody, {"input": "x", "instructions": WRONG}, "instructions.0"),
        (ResponseBody, {"input": "x", "include": WRONG}, "include.0"),
        (ResponseBody, {"input": "x", "tools": WRONG}, "tools.0"),
        (ResponseBody, {"input": "x", "metadata": NAMES}, "metadata"),
        (ConversationBody, {"metadata": NAMES}, "metadata"),
    ],
)
def test_of_many_errors_only_one_is_made(
    type_: type[BaseModel], raw: dict[str, Any], param: str
) -> None:
    """A body has room for a million; making them all would take seconds and gigabytes."""
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest) as refused:
            parse(type_, raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.param == param
    assert peak < MANY * 100, "more than the body itself"
