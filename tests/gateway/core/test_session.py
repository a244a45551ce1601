"""The names of conversations, and that keys have none in common."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.session import AGENT, HEADERS, session_of

ID = "0e8d7c1a-9d5a-4e54"


def test_a_request_without_a_name() -> None:
    for headers in ({}, {AGENT: "a1"}, {"user-agent": ID}, dict.fromkeys(HEADERS, "")):
        assert session_of(headers, None, "scope") == ""
        assert session_of(headers, "", "scope") == ""


def test_each_header_and_the_bodys_key() -> None:
    expected = session_of({}, ID, "scope")
    assert len(expected) == 32
    assert {session_of({name: ID}, None, "scope") for name in HEADERS} == {expected}
    # A key may be that of a whole application: the conversation's own name comes first.
    assert session_of({HEADERS[0]: ID}, "the app", "scope") == expected
    # Codex's helpers have a thread each in one session.
    assert session_of({"session-id": "root", "thread-id": ID}, None, "scope") == expected


def test_a_helper_has_a_conversation_of_its_own() -> None:
    parent = {HEADERS[0]: ID}
    names = [{**parent, AGENT: agent} for agent in ("a1", "a2", "")]
    assert len({session_of(headers, None, "") for headers in names}) == 3
    assert session_of(names[-1], None, "") == session_of(parent, None, "")


PARTS = st.tuples(st.text(max_size=8), st.text(min_size=1, max_size=8), st.text(max_size=8))


@given(PARTS, PARTS)
def test_no_name_makes_another_scopes(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    names = [session_of({AGENT: agent}, key, scope) for scope, key, agent in (one, other)]
    assert (names[0] == names[1]) == (one == other)


def test_any_text_is_a_name() -> None:
    assert session_of({}, "\ud800", "") != session_of({}, "x" * 10**6, "")
