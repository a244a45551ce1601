"""The output of a model, split as it comes: thought, text and calls. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from workers.chat_format.formats import ChatFormat
from workers.chat_format.thoughts import ThoughtSplitter
from workers.protocol import CallDelta, ToolUse


class ParsedOutput(NamedTuple):
    """The parts that some text brought."""

    content: str
    reasoning: str
    calls: list[CallDelta]


class OutputParser:
    """One answer's text in, its parts out. The text may be cut anywhere: the parts add up alike."""

    def __init__(self, chat_format: ChatFormat, *, use: ToolUse | None, thinking: bool) -> None:
        """``use`` None: nothing can be called. ``thinking``: the prompt ended inside a thought."""
        calls = chat_format.calls.in_thoughts(use)
        self._thoughts = ThoughtSplitter(chat_format.thoughts, thinking=thinking, calls=calls)
        self._calls = chat_format.calls.parser(use)

    @property
    def thinking(self) -> bool:
        """Return whether a thought is open."""
        return self._thoughts.thinking

    @property
    def called(self) -> bool:
        """Return whether a call has begun."""
        return self._calls.calls > 0

    @property
    def between(self) -> bool:
        """Return whether a call is over and nothing else has begun but, maybe, the next one."""
        return self._calls.between

    def push(self, text: str) -> ParsedOutput:
        """Take text; what can still turn out to be a tag or a call is held back."""
        reasoning, answer = self._thoughts.push(text)
        return _spoken(reasoning, self._calls.push(answer) if answer else [])

    def finish(self, *, cut: bool = False) -> ParsedOutput:
        """Return what was held back: the answer has ended, or was ``cut`` in the middle."""
        reasoning, answer = self._thoughts.finish()
        parts = self._calls.push(answer) if answer else []
        return _spoken(reasoning, [*parts, *self._calls.finish(cut=cut)])


def together(first: ParsedOutput, second: ParsedOutput) -> ParsedOutput:
    """Return two parts of an answer, of which one follows the other, as one."""
    return ParsedOutput(
        first.content + second.content,
        first.reasoning + second.reasoning,
        _joined([*first.calls, *second.calls])
        if first.calls and second.calls
        else first.calls or second.calls,
    )


def _spoken(reasoning: str, parts: list[str | CallDelta]) -> ParsedOutput:
    content = "".join(part for part in parts if isinstance(part, str))
    return ParsedOutput(content, reasoning, _joined(p for p in parts if isinstance(p, CallDelta)))


def _joined(parts: Iterable[CallDelta]) -> list[CallDelta]:
    """Return the pieces of calls, those of one call as one piece."""
    calls: list[CallDelta] = []
    for part in parts:
        if calls and part.name is None and calls[-1].index == part.index:
            part = CallDelta(part.index, calls[-1].name, calls.pop().arguments + part.arguments)
        calls.append(part)
    return calls
