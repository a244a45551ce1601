"""The text of one answer, as its tokens bring it: split into content, thought and calls, and cut at
stop strings.

The texts with which the model's template ends a turn are looked for in all that it writes. The
request's own stop strings are looked for in the content alone: in a thought, in the markup of a
call or in its arguments they would leave a torso.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from workers.chat_format import OutputParser, ParsedOutput, together
from workers.output.detokenizer import IncrementalDetokenizer, StopFilter
from workers.output.line_limits import LineLimits

NOTHING = ParsedOutput("", "", [])


class Voice(NamedTuple):
    """The way in which an answer is taken apart into text, thoughts and calls."""

    parser: OutputParser
    shown: Mapping[int, bytes]
    """The names of control tokens that tell it where one ends and the other begins."""
    free_after_call: bool = False
    """True if a call was forced and others may follow: those are the model's own choice."""


class AnswerText:
    """Bytes of tokens in, parts of the answer out."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        voice: Voice | None,
        stops: Sequence[str],
        ends: Sequence[str],
        lines: LineLimits | None = None,
    ) -> None:
        """``pieces``: the bytes of each token; ``ends``: texts that end the model's turn.

        ``lines``: where a line may end an answer that is text alone.
        """
        self._pieces = pieces
        self._voice = voice
        self._text = IncrementalDetokenizer(ends if voice is not None else [*stops, *ends])
        self._content = StopFilter(stops if voice is not None else ())
        self._lines = lines

    @property
    def stopped(self) -> bool:
        """Return whether the end was met."""
        return self._text.stopped or self._content.stopped

    @property
    def cut(self) -> bool:
        """Return whether a line ended the answer."""
        return self._lines is not None and self._lines.stopped

    @property
    def met(self) -> str | None:
        """Return the text that ended the answer, a stop string's or that of the turn's end."""
        return self._text.met or self._content.met

    @property
    def thinking(self) -> bool:
        """Return whether a thought is open."""
        return self._voice is not None and self._voice.parser.thinking

    @property
    def whole(self) -> bool:
        """Return whether the bytes so far end with a whole character."""
        return self._text.whole

    @property
    def called(self) -> bool:
        """Return whether a call has begun."""
        return self._voice is not None and self._voice.parser.called

    @property
    def free(self) -> bool:
        """Return whether a forced call is over, and the model says by itself if another follows."""
        voice = self._voice
        return voice is not None and voice.free_after_call and voice.parser.between

    def go_on(self) -> None:
        """Go on after the tokens of an earlier attempt, which were pushed again."""
        if self._lines is not None:
            self._lines.go_on()

    def push(self, token: int, *, stops: bool) -> ParsedOutput:
        """Take a token; return what it released. ``stops``: whether stop strings count here."""
        piece = self._pieces[token]
        if self._voice is not None:
            piece = self._voice.shown.get(token, piece)
        return self._split(self._text.push(piece, stops=stops), stops=stops)

    def finish(self, *, cut: bool) -> ParsedOutput:
        """Return what was held back: the answer has ended, or was ``cut`` in the middle."""
        if self._content.stopped:
            return NOTHING
        found = self._split(self._text.flush(), stops=True)
        if self._voice is None:
            return found
        rest = self._voice.parser.finish(cut=cut)
        content = self._content.push(rest.content) + self._content.flush()
        return together(found, rest._replace(content=content))

    def _split(self, text: str, *, stops: bool) -> ParsedOutput:
        if self._voice is None:
            if text and self._lines is not None:
                text = self._lines.push(text)
            return ParsedOutput(text, "", []) if text else NOTHING
        found = self._voice.parser.push(text) if text else NOTHING
        content = self._content.push(found.content, look=stops) if found.content else ""
        return found._replace(content=content)
