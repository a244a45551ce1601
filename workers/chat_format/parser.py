"""Calls found in the text of an answer, as it comes. Pure."""

from collections.abc import Iterable
from enum import Enum, auto

from workers.chat_format.json_value import JsonValue
from workers.chat_format.layout import Layout, beginning
from workers.output.detokenizer import open_tail
from workers.protocol import CallDelta


class _ParserState(Enum):
    START = auto()
    TEXT = auto()
    ARGUMENTS = auto()
    CLOSING = auto()
    BETWEEN = auto()


class CallParser:
    """Text in, content and pieces of calls out; the text may be cut anywhere.

    A call begins where all that stands before its arguments is complete, with the name of a
    function that may be called; anything less is content, held back while it can become more.
    White space before a call, between calls and after the last one is dropped.
    """

    def __init__(self, layout: Layout, names: Iterable[str]) -> None:
        names = list(names)
        inside = () if layout.inside is None else (layout.inside,)
        again = () if layout.again is None else (layout.again.lstrip(),)
        # None is no function's name: what follows is text.
        self._first: dict[str, str | None] = {
            **layout.heads(layout.first, names),
            **dict.fromkeys(layout.says),
        }
        self._inside: dict[str, str | None] = {**layout.heads(inside, names)}
        self._again: dict[str, str | None] = {**layout.heads(again, names)}
        self._mark = beginning(self._inside)
        """Beginning of all calls. Text without it is searched for one mark, however many
        functions there are."""
        self._layout = layout
        self._state = _ParserState.START
        self._held = ""
        self._json = JsonValue()
        self.calls = 0
        """Number of calls that have begun."""

    def push(self, text: str) -> list[str | CallDelta]:
        """The parts that the text released; strings are content."""
        self._held += text
        out: list[str | CallDelta] = []
        while self._advance(out):
            pass
        return out

    @property
    def between(self) -> bool:
        """Return whether a call is over and nothing else has begun but, maybe, the next one."""
        return self._state is _ParserState.BETWEEN

    def finish(self, *, cut: bool = False) -> list[str | CallDelta]:
        """Return what was held back: the text has ended, or was ``cut`` in the middle.

        A call that never got to its arguments is content if the model ended there by itself; of one
        that was cut, no markup is left, nor of what a call got behind its arguments.
        """
        held, self._held = self._held, ""
        match self._state:
            case _ParserState.CLOSING:
                return []
            case _ParserState.BETWEEN:
                begun = any(head.startswith(held.lstrip()) for head in self._again)
                return [] if begun or self._layout.end.startswith(held) else [held]
            case _ParserState.START | _ParserState.TEXT if cut:
                heads = self._first if self._state is _ParserState.START else self._inside
                held = held[: len(held) - self._markup(held, list(heads))]
        return [held] if held else []

    @staticmethod
    def _markup(held: str, heads: list[str]) -> int:
        """Return the length of the beginning of a call at the end of a text that was cut.

        A single character tells nothing.
        """
        size = open_tail(held, heads)
        return size if size > 1 else 0

    def _advance(self, out: list[str | CallDelta]) -> bool:
        """One transition; False when more text is needed."""
        match self._state:
            case _ParserState.START:
                return self._head(out, self._first)
            case _ParserState.TEXT:
                return self._text(out)
            case _ParserState.ARGUMENTS:
                return self._arguments(out)
            case _ParserState.CLOSING:
                return self._literal(self._layout.after)
            case _ParserState.BETWEEN:
                self._held = self._held.lstrip()
                end = self._layout.end
                if end and self._held.startswith(end):
                    self._held = self._held.removeprefix(end)
                    return True
                if end.startswith(self._held):
                    return False
                return self._head(out, self._again)

    def _head(self, out: list[str | CallDelta], heads: dict[str, str | None]) -> bool:
        """Return whether one of these comes here; if not, it is text."""
        body = self._held.lstrip()
        for head, name in heads.items():
            if body.startswith(head):
                self._begin(out, name, body[len(head) :])
                return True
        if any(head.startswith(body) for head in heads):
            return False
        if self._state is _ParserState.START or body:
            self._state = _ParserState.TEXT
            return True
        return False

    def _text(self, out: list[str | CallDelta]) -> bool:
        heads = [*self._inside] if self._mark in self._held else [self._mark]
        found = [(at + len(head), at, head) for head in heads if (at := self._held.find(head)) >= 0]
        if found:
            end, at, head = min(found)
            if content := self._held[:at].rstrip():
                out.append(content)
            self._begin(out, self._inside[head], self._held[end:])
            return True
        safe = self._held
        if heads:
            safe = safe[: len(safe) - open_tail(safe, heads)].rstrip()
        if safe:
            out.append(safe)
            self._held = self._held[len(safe) :]
        return False

    def _begin(self, out: list[str | CallDelta], name: str | None, rest: str) -> None:
        self._held = rest
        if name is None:
            self._state = _ParserState.TEXT
            return
        out.append(CallDelta(self.calls, name, ""))
        self.calls += 1
        self._json = JsonValue()
        self._state = _ParserState.ARGUMENTS

    def _arguments(self, out: list[str | CallDelta]) -> bool:
        size = self._json.push(self._held)
        if size:
            out.append(CallDelta(self.calls - 1, None, self._held[:size]))
            self._held = self._held[size:]
        if self._json.done:
            self._state = _ParserState.CLOSING
        return self._json.done

    def _literal(self, expected: str) -> bool:
        """The text goes on with this; what does not is dealt with by the next state."""
        if expected.startswith(self._held) and self._held != expected:
            return False
        self._held = self._held.removeprefix(expected)
        self._state = _ParserState.BETWEEN
        return True
