"""What a model's requests begin with."""

from typing import Any

import pytest

from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.served.served_model import ServedModel
from tests.support.desk import Desk
from workers.protocol import Chat, Text


def served(**fields: Any) -> ServedModel:
    desk = Desk(1)
    entry = ModelEntry(Config(alias="m"), **fields)
    return ServedModel(entry, desk.dispatcher, desk.pool, desk.loader)


def test_what_a_request_says_counts() -> None:
    some = served(sampling={"top_p": 0.5, "max_tokens": 9})
    assert some.completed({"top_p": None, "n": 1}) == {"top_p": 0.5, "n": 1, "max_tokens": 9}
    assert some.completed({"top_p": 1, "max_tokens": 2}) == {"top_p": 1, "max_tokens": 2}
    assert some.completed({"max_completion_tokens": 3}) == {
        "max_completion_tokens": 3,
        "top_p": 0.5,
    }
    raw = {"x": 1}
    assert served().completed(raw) is raw


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_conversation_with_a_system_message_keeps_it(role: str) -> None:
    own = Chat([{"role": "user", "content": "a"}, {"role": role, "content": "b"}])
    assert served(system="s").instructed((own,)) == (own,)


def test_other_conversations_get_the_models_own() -> None:
    messages = [{"role": "user", "content": "a"}]
    (chat,) = served(system="s").instructed((Chat(messages, arguments={"x": 1}),))
    assert chat == Chat([{"role": "system", "content": "s"}, *messages], arguments={"x": 1})
    text = (Text("a"),)
    assert served(system="s").instructed(text) == text
    assert served().instructed((Chat(messages),)) == (Chat(messages),)
