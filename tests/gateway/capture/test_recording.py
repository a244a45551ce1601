"""Recordings keep to their bounds, and say what they left out."""

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from gateway.capture.recording import FIXED, PIECE, HeldBytes, Recording

SCOPE: Scope = {"path": "/infer", "headers": []}


def recording(budget: HeldBytes, most: int = 100) -> Recording:
    assert budget.take(FIXED)
    return Recording("cap_1", "Infer", SCOPE, 0.0, budget, most)


def body(data: bytes, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@given(st.lists(st.binary(max_size=60)), st.integers(0, 2000))
def test_what_is_kept_is_a_beginning_within_the_bounds(pieces: list[bytes], room: int) -> None:
    budget = HeldBytes(FIXED + room)
    one = recording(budget)
    for piece in pieces:
        one.sent(body(piece))
        assert budget.held == one.charged <= budget.most
    whole = b"".join(pieces)
    kept = b"".join(one.answer.pieces)
    assert whole.startswith(kept)
    assert len(kept) == one.answer.kept <= 100
    assert one.answer.size == len(whole)
    assert one.answer.cut == (kept != whole)
    if room >= sum(len(each) + PIECE for each in pieces):
        assert kept == whole[:100]


def test_a_pinch_of_room_later_leaves_no_gap() -> None:
    budget = HeldBytes(FIXED + 2 * (PIECE + 10))
    one = recording(budget)
    one.sent(body(b"a" * 10))
    assert budget.take(PIECE + 10)
    one.sent(body(b"b" * 10))
    budget.give(PIECE + 10)
    one.sent(body(b"c" * 10))
    assert b"".join(one.answer.pieces) == b"a" * 10
    assert (one.answer.kept, one.answer.size) == (10, 30)


def test_an_end_and_a_hang_up_are_told_apart() -> None:
    one, two = recording(HeldBytes(10**6)), recording(HeldBytes(10**6))
    for each in (one, two):
        each.received({"type": "http.request", "body": b"{}", "more_body": False})
        each.sent({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        each.sent(body(b"x"))
    one.sent(body(b"", more=False))
    for each in (one, two):
        each.received({"type": "http.disconnect"})
    assert (one.complete, one.hung_up) == (True, False)
    assert (two.complete, two.hung_up) == (False, True)
    assert one.status == 200
    assert one.request.pieces == [b"{}"]
