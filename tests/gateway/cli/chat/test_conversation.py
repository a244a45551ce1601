"""Conversations: turns, what is forgotten, and files."""

import json

import pytest

from gateway.cli.chat.conversation import NotATranscript, Transcript


def spoken() -> Transcript:
    talk = Transcript("Be brief.")
    talk.ask("one")
    talk.answer("1")
    talk.ask("two")
    talk.answer("2 and", cut=True)
    return talk


def test_a_request_has_all_turns_after_the_system_message() -> None:
    roles = [message["role"] for message in spoken().request()]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert Transcript().request() == []


def test_undo_forgets_the_last_words_and_their_answer() -> None:
    talk = spoken()
    assert talk.undo() == "two"
    assert [message.content for message in talk.messages] == ["one", "1"]
    assert talk.undo() == "one"
    assert talk.undo() is None
    assert talk.system == "Be brief."


def test_an_answer_can_be_asked_for_again() -> None:
    talk = spoken()
    assert not talk.pending
    assert talk.unanswer()
    assert talk.pending
    assert talk.messages[-1].content == "two"
    talk.reset()
    assert not talk.unanswer()


def test_what_was_saved_is_loaded() -> None:
    talk = spoken()
    found = Transcript.load(talk.saved())
    assert found == talk
    assert found.messages[-1].cut
    assert json.loads(talk.saved())["messages"][0] == {"role": "system", "content": "Be brief."}
    assert Transcript.load(Transcript().saved()) == Transcript()


def test_a_bare_list_of_messages_is_loaded_too() -> None:
    found = Transcript.load('[{"role": "user", "content": "hi"}]')
    assert [message.content for message in found.messages] == ["hi"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ('"hello"', "no list of messages"),
        ('{"messages": 3}', "no list of messages"),
        ("[3]", r"messages\[0\] has no content"),
        ('[{"role": "user", "content": [1]}]', r"messages\[0\] has no content"),
        ('[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]', r"\[1\]"),
        ('[{"role": "tool", "content": "a"}]', "'tool'"),
    ],
)
def test_what_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(NotATranscript, match=why):
        Transcript.load(text)
