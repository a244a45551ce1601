"""W3C Trace Context from clients: what is taken, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.trace import (
    MAX_MEMBERS,
    MAX_STATE,
    Trace,
    checked_state,
    from_headers,
    read_trace,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_trace_is_gone_on_with() -> None:
    trace = read_trace([PARENT], ["congo=t61rcWkgMzE", " rojo=00f067aa0ba902b7 , ,"])
    assert trace is not None
    assert (trace.trace_id, trace.parent_span) == (TRACE, SPAN)
    assert trace.state == "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
    assert not trace.sampled


def test_headers_are_found_among_others() -> None:
    headers = [(b"host", b"forge"), (b"traceparent", PARENT.encode()), (b"tracestate", b"a=1")]
    trace = from_headers([*headers, (b"tracestate", b"b=2")])
    assert trace is not None
    assert (trace.trace_id, trace.state) == (TRACE, "a=1,b=2")
    assert from_headers(headers[:1]) is None
    assert from_headers([(b"tracestate", b"a=1")]) is None


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_flags_decide_nothing(flags: str) -> None:
    assert read_trace([PARENT[:-2] + flags], []) == read_trace([PARENT], [])


@pytest.mark.parametrize("later", ["01", "fe"])
def test_later_versions_may_have_more(later: str) -> None:
    for rest in ("", "-", "-what-will-be"):
        assert read_trace([later + PARENT[2:] + rest], []) is not None
    assert read_trace([later + PARENT[2:] + "x"], []) is None


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        PARENT.upper(),
        " " + PARENT,
        PARENT + " ",
        PARENT + "\n",
        PARENT + "-more",
        PARENT[:-1],
        "ff" + PARENT[2:],
        "0x" + PARENT[2:],
        PARENT.replace(TRACE, "0" * 32),
        PARENT.replace(SPAN, "0" * 16),
        PARENT.replace("-", "_"),
        PARENT.replace("a", "\uff41"),
        PARENT.replace("7", "\u0667"),
        f"00-{TRACE}-{SPAN}-0g",
        "00-" + "a" * 100_000,
    ],
)
def test_a_malformed_parent_is_none(parent: str) -> None:
    assert read_trace([parent], ["a=1"]) is None


def test_two_parents_are_none() -> None:
    assert read_trace([PARENT, PARENT], []) is None
    assert read_trace([], ["a=1"]) is None


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "a=",
        "A=1",
        "a=1,a=2",
        "a=1=2",
        "a=\x07",
        "a=é",
        "1@A=1",
        "=1",
        "a=1;b=2",
        f"{'k' * 257}=1",
        f"a={'v' * 257}",
        ",".join(f"k{n}=v" for n in range(MAX_MEMBERS + 1)),
        ",".join(f"{'k' * 100}{n}=v" for n in range(6)),
    ],
)
def test_a_malformed_state_is_left_out(state: str) -> None:
    assert checked_state(state) == ""
    trace = read_trace([PARENT], [state])
    assert trace is not None
    assert trace.state == ""


@pytest.mark.parametrize("state", ["a=1", "tenant@vendor=x y", "0=~", "a_-*/=1", "a= 1"])
def test_a_sound_state_is_kept(state: str) -> None:
    assert checked_state(state) == state


@given(st.lists(st.text()), st.lists(st.text()))
def test_no_header_is_an_error(parents: list[str], states: list[str]) -> None:
    trace = read_trace(parents, states)
    assert trace is None or len(trace.state) <= MAX_STATE


@given(st.text(alphabet="ab=,@ \t/*-_0", max_size=700))
def test_a_kept_state_is_kept_again(state: str) -> None:
    kept = checked_state(state)
    assert len(kept) <= MAX_STATE
    assert checked_state(kept) == kept


def test_the_origin_of_other_traces_is_the_request_or_its_clients_span() -> None:
    client = read_trace([PARENT], ())
    assert client is not None
    assert client.origin == f"00-{client.trace_id}-{client.parent_span}-00"
    client.request_span = "12" * 8
    assert client.origin == f"00-{client.trace_id}-{'12' * 8}-01"
    again = read_trace([client.origin], ())
    assert again is not None
    assert (again.trace_id, again.parent_span) == (client.trace_id, client.request_span)
    assert Trace("ab" * 16).origin == ""
