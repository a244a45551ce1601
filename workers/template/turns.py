"""The turns that a chat template takes, and conversations brought into that order. Pure.

Templates differ in what they insist on: Qwen 3.5 takes a system message at the head only and wants
a user, Gemma 2 and Mistral V1 want user and assistant in turn, others drop without a word what they
do not expect. :func:`learn` finds out once per template, by conversations of a few words that are
rendered with it; :func:`arrange` brings a request's messages into what it takes. Nothing is moved:
a conversation that goes on must begin with the bytes that it had, or its cached prefix is lost.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

Message = dict[str, Any]

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
INSTRUCTING = (SYSTEM, "developer")
THOUGHT = "reasoning_content"
BETWEEN = "\n\n"
"""Stands between messages that are joined."""


@dataclass(frozen=True)
class TurnRules:
    """The turns that a template takes: False for all that it would refuse or drop."""

    system: bool = True
    """A system message at the head."""
    later_system: bool = True
    """A system message in its place between the others."""
    no_system: bool = True
    """A conversation without a system message."""
    no_user: bool = True
    """A conversation without a user message."""
    user_pairs: bool = True
    """Two user messages, one after the other."""
    assistant_pairs: bool = True
    assistant_first: bool = True
    user_after_tool: bool = True
    """A user message after a tool's result, or after a call that has none."""
    lone_results: bool = True
    """A tool's result without the call that it is of."""
    assistant_last: bool = True
    """An assistant message at the end, with a system message at the head."""
    padding: str = ""
    """The text of a message that is put where one is missing."""


def strictest(rules: TurnRules) -> Iterable[TurnRules]:
    """Rules to try one after the other when a template refused what ``rules`` allowed."""
    strict = TurnRules(
        system=rules.system, later_system=False, no_system=rules.no_system, no_user=False,
        user_pairs=False, assistant_pairs=False, assistant_first=False, user_after_tool=False,
        padding=rules.padding,
    )  # fmt: skip
    yield strict
    yield replace(strict, user_after_tool=True)
    yield replace(strict, padding=_WORDS)
    yield replace(strict, system=False)
    yield replace(strict, lone_results=False)


# --------------------------------------------------------------------------- what a template takes

Ask = Callable[[list[list[Message]]], list[str | None]]

_WORDS = "..."
_ZEROTH, _FIRST, _SECOND, _THIRD, _FOURTH = (
    "word zero",
    "word one",
    "word two",
    "word three",
    "word four",
)
_CALL = {
    "id": "callabc12",
    "type": "function",
    "function": {"name": "probe", "arguments": {"word": "zero"}},
}


def learn(ask: Ask) -> TurnRules:
    """Return the rules of a template.

    ``ask`` renders conversations; None stands for one that the template refused.
    """
    head = [_said(SYSTEM, _ZEROTH)]
    question = [_said(USER, _FIRST)]
    alone, led, only = ask([question, head + question, head])
    if not (_in_order(alone, _FIRST) or _in_order(led, _FIRST)):
        return TurnRules()  # it takes nothing of ours: maybe it wants arguments of the request
    lead = head if alone is None else []
    system = _in_order(led, _ZEROTH)
    user, answer = lead + question, _said(ASSISTANT, _SECOND)
    later = [*user, answer, _said(SYSTEM, _THIRD), _said(USER, _FOURTH)]
    texts = ask(
        [
            later,
            [*user, answer, _said("unheard-of", _THIRD), _said(USER, _FOURTH)],
            [*user, answer, _said(ASSISTANT, _THIRD), _said(USER, _FOURTH)],
            [*user, _said(USER, _SECOND)],
            [*lead, _said(ASSISTANT, _FIRST), _said(USER, _SECOND)],
            [*user, {**answer, "tool_calls": [_CALL]}, _result(), _said(USER, _FOURTH)],
            [*user, _said(ASSISTANT, ""), _said(USER, _SECOND)],
            [*lead, _said(USER, ""), answer, _said(USER, _THIRD)],
            [*(head if system else lead), *question, answer],
        ]
    )
    placed, unknown, spoken, asked_twice, answer_first, after_tool, *more = texts
    unanswered, unasked, answered = more
    all_words = (_FIRST, _SECOND, _THIRD, _FOURTH)
    return TurnRules(
        system=system,
        # A template that writes any unheard-of role likewise does not know this one.
        later_system=system and _in_order(placed, *all_words) and placed != unknown,
        no_system=alone is not None,
        no_user=_in_order(only, _ZEROTH),
        user_pairs=_in_order(asked_twice, _FIRST, _SECOND),
        assistant_pairs=_in_order(spoken, *all_words),
        assistant_first=_in_order(answer_first, _FIRST, _SECOND),
        user_after_tool=after_tool is not None,
        assistant_last=_in_order(answered, *((_ZEROTH,) if system else ()), _FIRST, _SECOND),
        padding="" if None not in (unanswered, unasked) else _WORDS,
    )


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _result() -> Message:
    return {**_said(TOOL, _THIRD), "tool_call_id": _CALL["id"], "name": "probe"}


def _in_order(text: str | None, *words: str) -> bool:
    """Return whether all of these stand in the text, one after the other."""
    at = 0
    for word in words:
        at = text.find(word, at) if text is not None and at >= 0 else -1
    return at >= 0


# --------------------------------------------------------------------------- what it is given


def with_one_head(messages: list[Message]) -> list[Message]:
    """Join the system and developer messages that a conversation begins with."""
    size = next((at for at, each in enumerate(messages) if not _instructs(each)), len(messages))
    return messages if size < 2 else [_joined(messages[:size]), *messages[size:]]


def arrange(messages: list[Message], rules: TurnRules) -> list[Message]:
    """Return the messages in an order that the template takes, as far as the rules tell."""
    if not rules.lone_results:
        messages = _without_lone_results(messages)
    turns = _paired(_told_by_users(messages, rules), rules)
    return _padded(turns, rules)


def missing(messages: list[Message]) -> list[str]:
    """Return the roles without which a template may take none of the others."""
    given = {message["role"] for message in messages}
    needed = (USER, ASSISTANT) if TOOL in given else (USER,)
    return [role for role in needed if role not in given]


def _instructs(message: Message) -> bool:
    return message["role"] in INSTRUCTING


def _is_use(message: Message) -> bool:
    """Return whether a message is a tool's result or calls one."""
    return message["role"] == TOOL or bool(message.get("tool_calls"))


def _joined(run: list[Message]) -> Message:
    """Return one message of several, of the first one's role. All at once: there may be many."""
    if len(run) == 1:
        return run[0]
    whole: Message = {}
    for message in reversed(run):
        whole |= message
    whole["content"] = _together(run, "content")
    if calls := [call for each in run for call in each.get("tool_calls") or ()]:
        whole["tool_calls"] = calls
    if thought := _together(run, THOUGHT):
        whole[THOUGHT] = thought
    return whole


def _together(run: list[Message], name: str) -> str:
    """Return what messages have under a name as one text."""
    return BETWEEN.join(each[name] for each in run if each.get(name))


def _told_by_users(messages: list[Message], rules: TurnRules) -> list[Message]:
    """Make user text of the system messages that have no place, one with that beside it."""
    runs: list[list[Message]] = []
    open_ = False  # the last turn is, or ends with, such a message
    for at, message in enumerate(messages):
        told = _instructs(message) and not (rules.later_system if at else rules.system)
        if told:
            message = {**message, "role": USER}
        if runs and (told or open_) and runs[-1][0]["role"] == message["role"] == USER:
            runs[-1].append(message)
        else:
            runs.append([message])
        open_ = told
    return list(map(_joined, runs))


def _without_lone_results(messages: list[Message]) -> list[Message]:
    """Make user text of results without a call before them."""
    turns: list[Message] = []
    called = False
    for message in messages:
        if message["role"] != TOOL:
            called = bool(message.get("tool_calls"))
        elif not called:
            message = _said(USER, message.get("content") or "")
        turns.append(message)
    return turns


def _paired(messages: list[Message], rules: TurnRules) -> list[Message]:
    """Join neighbours of one role where the template would refuse or drop one."""
    apart = {USER: rules.user_pairs, ASSISTANT: rules.assistant_pairs}
    runs: list[list[Message]] = []
    for message in messages:
        role = message["role"]
        if runs and runs[-1][0]["role"] == role and not apart.get(role, True):
            runs[-1].append(message)
        else:
            runs.append([message])
    return list(map(_joined, runs))


def _padded(messages: list[Message], rules: TurnRules) -> list[Message]:
    """Put a message where the template insists on one that is missing."""
    turns: list[Message] = []
    asked = rules.no_user or any(message["role"] == USER for message in messages)
    if not rules.no_system and not (messages and _instructs(messages[0])):
        turns.append(_said(SYSTEM, rules.padding))
    for message in messages:
        role, last = message["role"], turns[-1]["role"] if turns else SYSTEM
        first = last in INSTRUCTING and len(turns) < 2
        if first and role == ASSISTANT and not (asked and rules.assistant_first):
            turns.append(_said(USER, rules.padding))
            asked = True
        elif role == USER and turns and _is_use(turns[-1]) and not rules.user_after_tool:
            turns.append(_said(ASSISTANT, rules.padding))
        turns.append(message)
    return turns if asked else [*turns, _said(USER, rules.padding)]
