"""The thought before an answer, split off as it comes. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from workers.chat_format.lark import literal, until
from workers.chat_format.layout import beginning
from workers.output.detokenizer import open_tail

MOST_SPACE = 8
"""Characters of white space after a thought that a form allows: small models write it for ever."""


@dataclass(frozen=True)
class Thoughts:
    """The tags that a model's thoughts stand between."""

    opening: str
    closing: str
    begun: bool = False
    """True if the prompt has some of the thought: the space that comes next is part of it."""
    space: tuple[str, str] = ("", "")
    """The white space that the template writes before the closing tag and after it."""

    @property
    def marks(self) -> list[str]:
        """The parts of the tags that may be control tokens: "<a>b" is one and text."""
        return re.findall(r"<[^<>]+>|\[[^\[\]]+\]", self.opening + self.closing)

    @property
    def end(self) -> str:
        """The end of a thought as the template writes it."""
        before, after = self.space
        return before + self.closing + after

    def grammar(self, special: Callable[[str], str], *, thinking: bool, calls: bool = False) -> str:
        """Rules that define ``start``: a ``thought`` and then ``answer``.

        ``calls``: a ``call_in_thought`` may end thought and answer.

        ``thinking``: the prompt ended inside a thought, which has to be closed; otherwise the model
        may begin one or not. ``special``: see :meth:`CallFormat.grammar`.
        """
        space = f"THOUGHT_SPACE: /[ \\t\\r\\n]{{0,{MOST_SPACE}}}/\n"
        closed = until("thought_text", self.closing, special) + space
        if thinking:
            start = "start: thought answer" + (" | call_in_thought\n" if calls else "\n")
            return start + "thought: thought_text THOUGHT_SPACE\n" + closed
        opening = literal(self.opening, self.marks, special)
        # Lazy: a model that wrote the tag thinks, even where a free text could begin so too.
        lazy = "[lazy]" if opening.startswith('"') else ""
        start = "start: thought answer"
        start += " | thought_opening call_in_thought\n" if calls else "\n"
        return (
            start + "thought: (thought_opening thought_text THOUGHT_SPACE)?\n"
            f"thought_opening{lazy}: {opening}\n" + closed
        )


class _SplitterState(Enum):
    START = auto()
    OPENED = auto()
    THOUGHT = auto()
    CLOSED = auto()
    ANSWER = auto()


class ThoughtSplitter:
    """Text in, (reasoning, answer) out; the text may be cut anywhere.

    A thought begins the answer or there is none. White space inside its tags and after it belongs
    to neither.
    """

    def __init__(
        self, thoughts: Thoughts | None, *, thinking: bool, calls: Sequence[str] = ()
    ) -> None:
        """``thinking``: the prompt ended inside a thought.

        ``calls``: beginnings of calls, which end a thought as its tag does.
        """
        self._thoughts = thoughts
        self._calls = calls
        self._mark = beginning(calls)
        """Beginning of all calls."""
        if thoughts is None:
            self._state = _SplitterState.ANSWER
        elif thinking:
            self._state = _SplitterState.THOUGHT if thoughts.begun else _SplitterState.OPENED
        else:
            self._state = _SplitterState.START
        self._held = ""

    @property
    def thinking(self) -> bool:
        """Return whether a thought is open."""
        return self._state in (_SplitterState.OPENED, _SplitterState.THOUGHT)

    def push(self, text: str) -> tuple[str, str]:
        """The parts that the text released."""
        self._held += text
        reasoning, before = "", None
        while before is not self._state:
            before = self._state
            reasoning += self._advance()
        return reasoning, self._take(len(self._held)) if before is _SplitterState.ANSWER else ""

    def _advance(self) -> str:
        """One transition, if the text allows it; the reasoning that it released."""
        if self._thoughts is None:
            return ""
        match self._state:
            case _SplitterState.START:
                self._begin(self._thoughts.opening)
            case _SplitterState.OPENED:
                self._skip_space(_SplitterState.THOUGHT)
            case _SplitterState.THOUGHT:
                return self._think(self._thoughts.closing)
            case _SplitterState.CLOSED:
                self._skip_space(_SplitterState.ANSWER)
        return ""

    def finish(self) -> tuple[str, str]:
        """The text has ended: what was held back. A thought that is open still is one."""
        held = self._take(len(self._held))
        return (held, "") if self._state is _SplitterState.THOUGHT else ("", held)

    def _begin(self, opening: str) -> None:
        body = self._held.lstrip()
        if body.startswith(opening):
            self._held = body.removeprefix(opening)
            self._state = _SplitterState.OPENED
        elif not opening.startswith(body):
            self._state = _SplitterState.ANSWER

    def _skip_space(self, then: _SplitterState) -> None:
        self._held = self._held.lstrip()
        if self._held:
            self._state = then

    def _think(self, closing: str) -> str:
        # A thought without the mark is searched for that alone, however many functions there are.
        marks = [closing, *(self._calls if self._mark in self._held else [self._mark])]
        found = [(at + len(mark), at, mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if found:
            _, at, mark = min(found)
            reasoning = self._take(at).rstrip()
            if mark == closing:
                self._take(len(closing))
                self._state = _SplitterState.CLOSED
            else:
                self._state = _SplitterState.ANSWER
            return reasoning
        safe = len(self._held) - open_tail(self._held, marks)
        return self._take(len(self._held[:safe].rstrip()))

    def _take(self, size: int) -> str:
        taken, self._held = self._held[:size], self._held[size:]
        return taken
