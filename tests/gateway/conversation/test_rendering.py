"""Turns as templates read them: what every dialect's parser may rely on."""

import pytest

from gateway.conversation import (
    CallBlock,
    MediaBlock,
    MediaOrigin,
    TextBlock,
    ThoughtBlock,
    Turn,
    gathered,
    rendered,
)
from gateway.core.errors import (
    AudioNotSupported,
    BadRequest,
    FileNotSupported,
    ImageNotSupported,
)
from workers.protocol import MEDIUM

PICTURE = MediaBlock(ImageNotSupported, ("messages", 0, "content", 1))
CALL = CallBlock("c1", "now", {"zone": "UTC"})


def test_every_turn_is_a_message_in_its_place() -> None:
    turns = [
        Turn("system", [TextBlock("Be brief."), TextBlock("Be kind.")]),
        Turn("user", [TextBlock("Time?")], name="ann"),
        Turn("assistant", [ThoughtBlock("a tool"), TextBlock("Let me see."), CALL]),
        Turn("tool", [TextBlock("noon")], call_id="c1"),
        Turn("system", [TextBlock("9 tokens left")]),
        Turn("assistant", [TextBlock("Noon.")]),
    ]
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "now", "arguments": {"zone": "UTC"}},
    }
    assert rendered(turns) == [
        {"role": "system", "content": "Be brief.\nBe kind."},
        {"role": "user", "content": "Time?", "name": "ann"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "a tool",
            "tool_calls": [call],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "c1"},
        {"role": "system", "content": "9 tokens left"},
        {"role": "assistant", "content": "Noon."},
    ]


def test_a_longer_conversation_begins_with_the_messages_of_a_shorter() -> None:
    turns: list[Turn] = [Turn("system", [TextBlock("Be brief.")])]
    before = rendered(turns)
    for at in range(20):
        turns += [
            Turn("user", [TextBlock(f"question {at}")]),
            Turn("assistant", [CallBlock(f"c{at}", "now", {})]),
            Turn("tool", [TextBlock("noon"), PICTURE], call_id=f"c{at}"),
            Turn("system", [TextBlock(f"{20 - at} left")]),
        ]
        after = rendered(turns, lambda _: None)
        assert after[: len(before)] == before
        before = after


def test_a_text_stands_for_media_but_those_of_the_newest_user_turn() -> None:
    heard: list[MediaBlock] = []
    turns = [
        Turn("user", [TextBlock("look"), PICTURE]),
        Turn("assistant", [TextBlock("I see.")]),
        Turn("user", [TextBlock("well?")]),
        Turn("tool", [MediaBlock(FileNotSupported, ("messages", 3, "content", 0))]),
    ]
    first, *_, last = rendered(turns, heard.append)
    assert first["content"] == "look\n[image omitted: this model does not take images]"
    assert "file omitted" in last["content"]
    assert [block.kind for block in heard] == [ImageNotSupported, FileNotSupported]
    with pytest.raises(ImageNotSupported) as caught:
        rendered(turns[:2], heard.append)
    assert caught.value.param == "messages.0.content.1.type"
    with pytest.raises(ImageNotSupported):
        rendered(turns)


def test_media_that_the_model_takes_are_parts_of_their_messages() -> None:
    seen = MediaOrigin("image", "data:,", "messages.0.content.1.image_url")
    heard = MediaOrigin("audio", "AAAA", "messages.2.content.0.input_audio.data")
    sight = MediaBlock(ImageNotSupported, ("messages", 0, "content", 1), source=seen)
    sound = MediaBlock(AudioNotSupported, ("messages", 2, "content", 0), source=heard)
    turns = [
        Turn("user", [TextBlock("look"), sight, TextBlock("")]),
        Turn("assistant", [TextBlock("I see.")]),
        Turn("tool", [sound, sight], call_id="c1"),
        Turn("user", [TextBlock("well?")]),
    ]
    look = {"type": "text", "text": "look"}
    first, answer, result, last = rendered(turns, None, frozenset(("image", "audio")))
    assert first["content"] == [look, {"type": MEDIUM, "source": seen}]
    assert answer["content"] == "I see."
    assert [part["source"] for part in result["content"]] == [heard, seen]
    assert last["content"] == "well?"
    omitted: list[MediaBlock] = []
    *_, result, last = rendered(turns, omitted.append, frozenset(("image",)))
    assert result["content"] == [
        {"type": "text", "text": "[audio omitted: this model does not take audio]"},
        {"type": MEDIUM, "source": seen},
    ]
    assert omitted == [sound]
    with pytest.raises(BadRequest) as caught:
        rendered([Turn("user", [PICTURE])], None, frozenset(("image",)))
    assert caught.value.param == "messages.0.content.1"


def test_an_answer_in_items_is_one_turn() -> None:
    items = [
        Turn("user", [TextBlock("Time?")]),
        Turn("assistant", [ThoughtBlock("a tool")]),
        Turn("assistant", [TextBlock("Let me see.")]),
        Turn("assistant", [CALL]),
        Turn("tool", [TextBlock("noon")], call_id="c1"),
        Turn("assistant", [TextBlock("Noon.")]),
    ]
    user, answer, result, last = gathered(items)
    assert answer == Turn("assistant", [ThoughtBlock("a tool"), TextBlock("Let me see."), CALL])
    assert [user, result, last] == [items[0], items[4], items[5]]


def test_an_answer_of_any_number_of_items_is_gathered_once() -> None:
    """To copy it anew for each item would not end."""
    item = Turn("assistant", [CALL])
    (answer,) = gathered([item] * 1_000_000)
    assert len(answer.blocks) == 1_000_000
    assert item.blocks == [CALL]
