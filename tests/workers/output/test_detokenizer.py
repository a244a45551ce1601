"""Detokenising against whole-text references, for any cutting into tokens."""

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from workers.output.detokenizer import IncrementalDetokenizer, earliest, open_tail

# Few letters, so that stops overlap with themselves, each other and the text.
LETTERS = st.text("abä", max_size=24)
STOPS = st.lists(st.text("abä", min_size=1, max_size=5), max_size=4)
CUTS = st.lists(st.integers(0, 2**16), max_size=30)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` as tokens; cuts may go through characters, tokens may be empty."""
    ends = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def stream(tokens: list[bytes], stops: list[str]) -> tuple[str, bool]:
    """All the text a client gets, and whether a stop string ended it."""
    text = IncrementalDetokenizer(stops)
    out = "".join(text.push(token) for token in tokens)
    return out + text.flush(), text.stopped


def reference(text: str, stops: list[str]) -> tuple[str, bool]:
    """Cut before the stop string that is complete first; of several that end there, the longest.

    Reading character by character this is the only rule that needs no look into the future: with
    stops "b" and "abc" the text "ab" must end at once, whether or not a "c" would have come.
    """
    for end in range(len(text) + 1):
        matching = [stop for stop in stops if text[:end].endswith(stop)]
        if matching:
            return text[: end - max(map(len, matching))], True
    return text, False


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), CUTS)
@example("🙂".encode()[:3], [1, 2])
@example(b"\xe4\xff\xf0\x9f", [1, 2, 3])
def test_any_bytes_cut_anywhere(data: bytes, cuts: list[int]) -> None:
    assert stream(pieces(data, cuts), []) == (data.decode("utf-8", "replace"), False)


@settings(max_examples=200, deadline=None)
@given(LETTERS, STOPS, CUTS)
def test_text_ends_at_the_first_stop(text: str, stops: list[str], cuts: list[int]) -> None:
    """For stops of which none contains another: then the first to begin is the first to end."""
    assume(not any(a in b for a in stops for b in stops if a != b))
    assert stream(pieces(text.encode(), cuts), stops) == reference(text, stops)


@settings(max_examples=200, deadline=None)
@given(LETTERS, STOPS, CUTS)
@example("abc", ["b", "abc"], [])
def test_any_stops_and_any_tokens(text: str, stops: list[str], cuts: list[int]) -> None:
    """The model's way to cut its text into tokens must not show in the answer."""
    assert stream(pieces(text.encode(), cuts), stops) == reference(text, stops)


@settings(max_examples=150, deadline=None)
@given(LETTERS, STOPS, CUTS)
def test_nothing_is_released_early_or_late(text: str, stops: list[str], cuts: list[int]) -> None:
    """The text held back is exactly the longest end that could still become a stop string."""
    out, so_far = "", b""
    held = IncrementalDetokenizer(stops)
    for token in pieces(text.encode(), cuts):
        out, so_far = out + held.push(token), so_far + token
        if held.stopped:
            break
        complete = so_far.decode("utf-8", "ignore")
        ends = [complete[at:] for at in range(len(complete))]
        hold = next((end for end in ends if any(s.startswith(end) for s in stops)), "")
        assert out == complete.removesuffix(hold)


@settings(max_examples=200, deadline=None)
@given(LETTERS, STOPS.filter(bool), CUTS)
def test_nothing_comes_after_a_stop(text: str, stops: list[str], cuts: list[int]) -> None:
    held = IncrementalDetokenizer(stops)
    for token in pieces(text.encode() + stops[0].encode(), cuts):
        held.push(token)
    assert held.stopped
    assert held.push(b"more") == ""
    assert held.flush() == ""
    assert held.stopped


def test_stop_that_straddles_tokens() -> None:
    text = IncrementalDetokenizer(["</end>"])
    assert [text.push(token) for token in (b"a <", b"b </", b"en", b"d", b"> c")] == [
        "a ",
        "<b ",
        "",
        "",
        "",
    ]
    assert text.stopped


def test_false_start_is_released_when_it_fails() -> None:
    text = IncrementalDetokenizer(["aab"])
    assert [text.push(token) for token in (b"a", b"a", b"a", b"c")] == ["", "", "a", "aac"]
    assert text.flush() == ""
    assert not text.stopped


def test_flush_can_complete_a_stop() -> None:
    """An unfinished character becomes U+FFFD, which is a character like any other."""
    text = IncrementalDetokenizer(["x�"])
    assert text.push(b"ax\xe4") == "a"
    assert text.flush() == ""
    assert text.stopped


def test_held_back_text_comes_with_the_flush() -> None:
    text = IncrementalDetokenizer(["stop"])
    assert text.push(b"do not st") == "do not "
    assert text.flush() == "st"
    assert text.flush() == ""


def test_helpers() -> None:
    assert earliest("abcabc", ["c", "bc"]) == (1, "bc")
    assert earliest("abc", ["x"]) is None
    assert earliest("abc", []) is None
    assert open_tail("xaba", ["abab"]) == 3
    assert open_tail("xab", ["ab"]) == 0, "a whole stop is not a beginning of one"
    assert open_tail("", ["ab"]) == 0
    assert open_tail("abc", []) == 0
