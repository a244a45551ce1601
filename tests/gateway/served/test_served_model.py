"""The beginning of a model's requests."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.served.served_model import ServedModel
from tests.support.desk import Desk
from tests.support.memory_pool import job
from workers.protocol import Chat, Text


def served(config: Config | None = None, **fields: Any) -> ServedModel:
    desk = Desk(1)
    entry = ModelEntry(config or Config(alias="m"), **fields)
    return ServedModel(entry, desk.dispatcher, desk.pool, desk.loader)


def test_what_a_request_says_counts() -> None:
    some = served(Config(alias="m", sampling={"top_p": 0.5, "max_tokens": 9}))
    assert some.completed({"top_p": None, "n": 1}) == {"top_p": 0.5, "n": 1, "max_tokens": 9}
    assert some.completed({"top_p": 1, "max_tokens": 2}) == {"top_p": 1, "max_tokens": 2}
    for name in ("max_completion_tokens", "max_output_tokens"):
        assert "max_tokens" not in some.completed({name: 3}), "two names for one thing"
    assert some.completed({"max_completion_tokens": 3}) == {
        "max_completion_tokens": 3,
        "top_p": 0.5,
    }
    # -1 is the word for the default, as llama-server's limit counts for it.
    assert some.completed({"max_tokens": -1, "top_p": 1}) == {"max_tokens": 9, "top_p": 1}
    assert served(Config(alias="m", sampling={"seed": 1})).completed({"max_tokens": -1}) == {
        "max_tokens": -1,
        "seed": 1,
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


# ------------------------------------------------------------------ the limit of a thought


@pytest.mark.parametrize(
    ("own", "asked", "limit"),
    [(-1, None, None), (-1, 7, 7), (9, None, 9), (9, 7, 7), (9, 20, 20), (9, 0, 0), (0, 7, 7)],
)
def test_the_limit_of_a_thought(own: int, asked: int | None, limit: int | None) -> None:
    some = served(Config(alias="m", reasoning_budget=own, reasoning_budget_message="Done."))
    wanted = job(thought_limit=asked)
    found = some.limited(wanted)
    assert found.params.thought_limit == limit
    assert found.params.thought_end == ("" if limit is None else "Done.")
    assert (found is wanted) is (limit is None)
    (chat,) = found.prompts
    assert isinstance(chat, Chat)
    assert chat.arguments == ({"enable_thinking": False} if limit == 0 else {})


def test_what_a_request_says_of_thinking_stays() -> None:
    none = served(Config(alias="m", reasoning_budget=0))
    asks = Chat([{"role": "user", "content": "a"}], arguments={"enable_thinking": True})
    wanted = job(thought_end="Mine.")
    found = none.limited(replace(wanted, prompts=(asks, Text("a"))))
    assert found.prompts == (asks, Text("a"))
    assert found.params.thought_end == "Mine."
    assert none.shown(asks) == asks
    plain = Chat(asks.messages)
    assert none.shown(plain).arguments == {"enable_thinking": False}
    assert served(system="s").shown(plain).arguments == {}
