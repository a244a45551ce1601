"""An assistant's last message, which the model goes on with. Pure.

The template writes the turn with a mark in place of its text, and the prompt is cut there: so it is
the turn of an answer, with all that the family writes before one, yet without the end, and the
text is the client's to the last space, which most templates trim.
"""

from dataclasses import dataclass

from workers.chat_format.history import Message
from workers.chat_format.template_quirks import THOUGHTS
from workers.chat_format.thoughts import Thoughts
from workers.protocol import Chat

THOUGHT = THOUGHTS[0]


class NotContinued(Exception):
    """The last message can't be continued; the text says why."""


@dataclass(frozen=True)
class Continuation:
    """The beginning of an answer."""

    text: str
    thought: bool
    """True if it is a thought, which is left open; else the answer's text."""

    def message(self, last: Message, mark: str) -> Message:
        """Return the last message with a mark in place of the text."""
        return {**last, "content": "", THOUGHT: mark} if self.thought else {**last, "content": mark}


def continuation(chat: Chat, thoughts: Thoughts | None) -> Continuation | None:
    """Return the answer's beginning if the last message is one. Raises :class:`NotContinued`.

    ``thoughts``: the model's; the beginning of a thought is none of an answer without them.
    """
    last = chat.messages[-1] if chat.messages else {"role": ""}
    wanted = chat.continue_final_message
    if wanted is False or (wanted is None and chat.add_generation_prompt is not None):
        return None
    reason = None
    if last["role"] != "assistant":
        reason = "the last message is not the assistant's"
    elif last.get("tool_calls"):
        reason = "the last message ends with calls"
    if reason is not None:
        if wanted:
            raise NotContinued(reason)
        return None
    text, thought = last.get("content") or "", last.get(THOUGHT) or ""
    if thought and not text and thoughts is not None:
        return Continuation(thought, thought=True)
    return Continuation(text, thought=False)


def parts_of(text: str, thoughts: Thoughts | None) -> list[tuple[str, bool]]:
    """Cut an answer's text into pieces: its own, and the tags of a thought that it begins with.

    True stands beside the tags, which may be control tokens.
    """
    space, body = _begun(text, thoughts)
    if thoughts is None or body is None:
        return [(text, False)]
    thought, closing, answer = body.partition(thoughts.closing)
    pieces = [(space, False), (thoughts.opening, True), (thought, False), (closing, True)]
    return [piece for piece in (*pieces, (answer, False)) if piece[0]]


def thinks(text: str, thoughts: Thoughts | None, *, opened: bool) -> bool:
    """Return whether an answer's text ends in a thought; ``opened``: the prompt begins one."""
    if thoughts is None:
        return False
    body = text if opened else _begun(text, thoughts)[1]
    return body is not None and thoughts.closing not in body


def before_thought(head: str, text: str, thoughts: Thoughts | None) -> str:
    """Return the prompt before an answer's text: without an empty thought if that begins one."""
    return head if _begun(text, thoughts)[1] is None else _without_empty(head, thoughts)


def _without_empty(head: str, thoughts: Thoughts | None) -> str:
    """Return a prompt without the thought of nothing that it may end with."""
    if thoughts is None:
        return head
    rest = head.rstrip().removesuffix(thoughts.closing).rstrip()
    before = rest.removesuffix(thoughts.opening.rstrip())
    return head if before == rest or rest == head.rstrip() else before


def opened(head: str, thoughts: Thoughts) -> str:
    """Return a prompt that ends inside a thought."""
    tag = thoughts.opening
    head = _without_empty(head, thoughts)
    if head.rstrip().endswith(tag.rstrip()):
        return head
    return head + tag + ("\n" if tag.endswith(">") and not tag.endswith("|>") else "")


def _begun(text: str, thoughts: Thoughts | None) -> tuple[str, str | None]:
    """Return the space before a thought at the beginning, and what follows its tag; or None."""
    body = text.lstrip()
    if thoughts is None or not body.startswith(thoughts.opening):
        return "", None
    return text[: len(text) - len(body)], body.removeprefix(thoughts.opening)
