"""From events to the blocks of Anthropic's dialect, in an order that clients expect."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.messages.answer import PING, MessageWriter
from gateway.api.messages.blocks import BlockWriter
from gateway.api.messages.signature import carried
from gateway.dispatch.ticket import Ticket
from tests.support.memory_pool import job, only
from tests.support.messages_requests import body
from workers.protocol import CallDelta, Delta, Extra, Finished, Started


def writer(**fields: Any) -> MessageWriter:
    made = Ticket(1, job(), 0)
    only(made).started = Started(1, 1, 7, 3)
    only(made).ids = [5, 6]
    return MessageWriter(made, "tiny", body(**fields))


def finished(reason: str, text: str = "", extra: Extra | None = None, stop: Any = None) -> Finished:
    return Finished(1, 1, reason, [], text, extra, None, stop)


def calls(index: int, *pieces: str) -> list[Extra]:
    first, *rest = pieces
    name = "get_weather"
    return [
        Extra(calls=[CallDelta(index, name, first)]),
        *(Extra(calls=[CallDelta(index, None, piece)]) for piece in rest),
    ]


PIECES: list[Delta | Started | Finished] = [
    Started(1, 1, 7, 3),
    Delta(1, 1, [1], "", Extra(reasoning="a ")),
    Delta(1, 1, [1], "", Extra(reasoning="tool")),
    Delta(1, 1, [1], "\n\n"),
    Delta(1, 1, [1], "Let me "),
    Delta(1, 1, [1], "see."),
    *(Delta(1, 1, [1], "", extra) for extra in calls(0, '{"city": "Pa', 'ris"}')),
    Delta(1, 1, [1], "\n"),
    *(Delta(1, 1, [1], "", extra) for extra in calls(1, "{}")),
    finished("tool_calls"),
]


def test_blocks_follow_one_another_and_keep_their_places() -> None:
    made = writer()
    events = [event for piece in PIECES for event in made.take(piece)]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    open_, begun = None, 0
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert (open_, event["index"]) == (None, begun)
                open_, begun = begun, begun + 1
            case "content_block_stop":
                assert event["index"] == open_
                open_ = None
            case _:
                assert event["index"] == open_
    assert open_ is None
    starts = [event["content_block"] for event in events if "content_block" in event]
    assert [each["type"] for each in starts] == ["thinking", "text", "tool_use", "tool_use"]
    assert starts[0] == {"type": "thinking", "thinking": "", "signature": ""}
    assert starts[1] == {"type": "text", "text": ""}
    assert starts[2]["input"] == {}
    assert len({each["id"] for each in starts[2:]}) == 2


def test_a_whole_answer_is_what_a_stream_adds_up_to() -> None:
    made = writer()
    events = [event for piece in PIECES for event in made.take(piece)]
    assert made.whole()["content"] == assembled(events)
    thought, words, call, other = made.whole()["content"]
    assert thought["type"] == "thinking"
    assert (thought["thinking"], bool(thought["signature"])) == ("a tool", True)
    assert words == {"type": "text", "text": "\n\nLet me see."}
    assert call["type"] == other["type"] == "tool_use"
    assert (call["input"], other["input"]) == ({"city": "Paris"}, {})
    message = made.whole()
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)
    assert message["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 2,
    }


def assembled(events: Any) -> list[dict[str, Any]]:
    """Blocks as clients put them together from a stream."""
    blocks: list[dict[str, Any]] = []
    arguments: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            if delta["type"] == "input_json_delta":
                at = event["index"]
                arguments[at] = arguments.get(at, "") + delta["partial_json"]
                try:
                    block["input"] = json.loads(arguments[at])
                except json.JSONDecodeError:
                    continue
            else:
                (name,) = delta.keys() - {"type"}
                block[name] += delta[name]
    return blocks


DELTAS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(max_size=5)),
        st.tuples(st.just("thought"), st.text(max_size=5)),
        st.tuples(st.just("call"), st.just("{}")),
    )
)


@given(DELTAS, st.booleans())
def test_any_order_of_pieces_makes_sound_blocks(pieces: list[tuple[str, str]], hide: bool) -> None:
    blocks, events, made = BlockWriter("r", hides_thoughts=hide), list[Any](), 0
    for kind, piece in pieces:
        extra = None
        if kind == "thought":
            extra = Extra(reasoning=piece)
        elif kind == "call":
            extra, made = Extra(calls=[CallDelta(made, "f", piece)]), made + 1
        events += blocks.take(piece if kind == "text" else "", extra)
    events += blocks.end()
    assert assembled(events) == blocks.blocks
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert starts == stops == list(range(len(blocks.blocks)))
    assert blocks.blocks, "clients read the first block"
    spoken = "".join(piece for kind, piece in pieces if kind == "text")
    told = "".join(block["text"] for block in blocks.blocks if block["type"] == "text")
    assert "".join(told.split()) == "".join(spoken.split())


def test_a_hidden_thought_has_a_signature_alone() -> None:
    made = writer(thinking={"type": "adaptive", "display": "omitted"})
    events = [
        *made.take(Delta(1, 1, [1], "", Extra(reasoning="a secret"))),
        *made.take(finished("stop", "Yes.")),
    ]
    assert "a secret" not in json.dumps(events)
    thought = made.whole()["content"][0]
    assert thought["type"] == "thinking"
    assert thought["thinking"] == ""
    assert carried(thought["signature"]) == "a secret"
    assert assembled(events) == made.whole()["content"]


@pytest.mark.parametrize(
    ("event", "fields", "reason", "sequence"),
    [
        (finished("stop"), {}, "end_turn", None),
        (finished("stop", stop="END"), {"stop_sequences": ["END"]}, "stop_sequence", "END"),
        (finished("stop", stop="<|im_end|>"), {"stop_sequences": ["END"]}, "end_turn", None),
        (finished("tool_calls"), {}, "tool_use", None),
        (finished("length"), {"max_tokens": 2}, "max_tokens", None),
        (finished("length"), {"max_tokens": 64000}, "model_context_window_exceeded", None),
    ],
)
def test_reasons(event: Finished, fields: Any, reason: str, sequence: str | None) -> None:
    made = writer(**fields)
    *_, delta, _ = made.take(event)
    assert delta["delta"] == {"stop_reason": reason, "stop_sequence": sequence}
    assert (made.whole()["stop_reason"], made.whole()["stop_sequence"]) == (reason, sequence)


def test_a_wait_begins_the_message_and_pings() -> None:
    made = writer()
    first, second = made.waiting().decode(), made.waiting().decode()
    assert first.startswith("event: message_start\ndata: {")
    assert first.endswith('event: ping\ndata: {"type":"ping"}\n\n')
    assert second == 'event: ping\ndata: {"type":"ping"}\n\n'
    assert made.event(Started(1, 1, 7, 3)) == b"", "it has begun"


def test_a_hidden_thought_pings() -> None:
    made = writer(thinking={"type": "adaptive", "display": "omitted"})
    thought = Delta(1, 1, [1], "", Extra(reasoning="hm "))
    data = [made.event(thought) for _ in range(65)]
    assert data[0].startswith(b"event: message_start\n")
    assert data[1:].count(PING) == 4
    assert b"hm" not in b"".join(data)


def test_an_answer_of_nothing_has_one_empty_text() -> None:
    made = writer()
    made.take(finished("stop"))
    assert made.whole()["content"] == [{"type": "text", "text": ""}]


def test_a_call_that_was_cut_off_has_no_arguments_yet() -> None:
    made = writer()
    (piece,) = calls(0, '{"city": "Pa')
    made.take(Delta(1, 1, [1], "", piece))
    made.take(finished("length"))
    (call,) = made.whole()["content"]
    assert call["type"] == "tool_use"
    assert call["input"] == {}


def test_half_a_character_in_a_call_loses_no_arguments() -> None:
    """A grammar lets a model write it."""
    made = writer()
    (piece,) = calls(0, r'{"city": "a\ud83d"}')
    made.take(Delta(1, 1, [1], "", piece))
    made.take(finished("tool_calls"))
    (call,) = made.whole()["content"]
    assert call["type"] == "tool_use"
    assert call["input"] == {"city": "a\ufffd"}
