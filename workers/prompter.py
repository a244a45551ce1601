"""Conversations to prompts: the model's template, and what it insists on."""

import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import msgspec

from workers.chat_format import ChatFormat, starts_thinking
from workers.chat_format.continuation import (
    THOUGHT,
    Continuation,
    NotContinued,
    before_thought,
    continuation,
    opened,
    parts_of,
    thinks,
)
from workers.chat_format.history import as_object
from workers.llama import Model
from workers.llama.tokenizer import Part
from workers.media.marks import NO_MARKS, Marks, marked, shown
from workers.protocol import BAD_PROMPT, COMPUTE_FAILED, NOT_SUPPORTED, Chat
from workers.refused import InputRefused
from workers.template.control_text import ControlText, NoStandIn, StandIns
from workers.template.sandbox import SandboxFailed
from workers.template.sources import FALLBACK, TemplateFailed, TemplateRefused
from workers.template.turns import Message, TurnRules, missing, strictest


class Sandbox(Protocol):
    """The runtime of untrusted texts; a worker's is
    :class:`workers.template.sandbox.TemplateSandbox`.
    """

    def render(
        self,
        messages: list[dict[str, Any]],
        now: float,
        tools: list[dict[str, Any]] | None = None,
        arguments: dict[str, Any] | None = None,
        *,
        opens: bool = True,
    ) -> str:
        """Raises :class:`TemplateFailed`, or :class:`SandboxFailed` if the sandbox is gone."""
        ...

    def probe(self, conversations: list[list[dict[str, Any]]], now: float) -> list[str | None]:
        """Raises the same; None stands for a conversation that the template refuses."""
        ...

    def to_lark(self, source: str) -> str:
        """Raises :class:`GrammarFailed` or :class:`SandboxFailed`."""
        ...


@dataclass(frozen=True)
class WrittenPrompt:
    """A conversation as the model reads it."""

    parts: list[Part]
    chat_format: ChatFormat
    """The habits of the model in what is left of its answer."""
    thinking: bool
    """True if the prompt ends inside a thought."""
    marks: Marks = field(default_factory=dict)
    """Characters in its parts that stand for media."""

    @property
    def text(self) -> str:
        """Return the prompt as one text, which does not tell whose its control tokens are."""
        return shown("".join(part.text for part in self.parts), self.marks)


class Prompter:
    """Writes a conversation with the model's template. For one thread."""

    def __init__(
        self,
        model: Model,
        sandbox: Sandbox,
        chat_format: ChatFormat,
        broken: str | None = None,
        *,
        template: str | None = None,
    ) -> None:
        """``broken``: the reason why no template can write a conversation, if so.

        ``template``: the source of the sandbox's, if it is not the model's.
        """
        self._model = model
        self._sandbox = sandbox
        self._chat_format = chat_format
        self._broken = broken
        source = template or model.chat_template or FALLBACK
        self._control_text = ControlText(model.tokenizer.control_texts, source)
        self._rules = TurnRules()
        if broken is None:
            # One that does not end in time over a few words is found out by the first request.
            with contextlib.suppress(TemplateFailed, SandboxFailed):
                self._rules = chat_format.calls.learn(lambda asked: sandbox.probe(asked, 0.0))

    def write(self, chat: Chat, now: float) -> WrittenPrompt:
        """Return the prompt; ``now`` (Unix s) is the date that templates see.

        Raises :class:`InputRefused`.
        """
        if self._broken is not None:
            raise InputRefused(NOT_SUPPORTED, f"this model can't chat: {self._broken}", "model")
        try:
            chat, marks = self._marked(chat)
            continued = continuation(chat, self._chat_format.thoughts)
            guarded, stand_ins = self._guarded(chat)
            head = self._head(guarded, continued, now)
        except NotContinued as error:
            message = f"'continue_final_message': {error}"
            raise InputRefused(BAD_PROMPT, message, "continue_final_message") from error
        except NoStandIn:
            message = "the messages use every private-use character of Unicode"
            raise InputRefused(BAD_PROMPT, message, "messages") from None
        except TemplateFailed as error:
            raise InputRefused(BAD_PROMPT, str(error)) from error
        except SandboxFailed as error:
            raise InputRefused(COMPUTE_FAILED, str(error)) from error
        # Many templates write BOS themselves; the tokeniser would add a second one.
        bos = self._model.special_text("bos")
        head = head.removeprefix(bos) if bos and self._model.adds_bos else head
        pieces = [(head, True)] if stand_ins is None else stand_ins.pieces(head)
        return replace(self._begun([Part(*piece) for piece in pieces], continued), marks=marks)

    def _marked(self, chat: Chat) -> tuple[Chat, Marks]:
        """Put marks in place of the media. Raises NoStandIn."""
        if not chat.media:
            return chat, NO_MARKS
        tools = None if chat.tools is None else chat.tools.tools
        unused = self._control_text.unused([chat.messages, tools, chat.arguments])
        characters = list(islice(unused, len(chat.media)))
        if len(characters) < len(chat.media):
            raise NoStandIn
        return marked(chat, characters)

    def _begun(self, head: list[Part], continued: Continuation | None) -> WrittenPrompt:
        """Return a prompt of what the template wrote and the beginning of the answer."""
        form, thoughts = self._chat_format, self._chat_format.thoughts
        open_ = starts_thinking(form, "".join(part.text for part in head))
        if continued is None or not continued.text.strip():
            space = [Part(continued.text, False)] if continued and continued.text else []
            return WrittenPrompt([*head, *space], form, open_)
        if continued.thought:
            parts = [*head, Part(continued.text, False)]
            return WrittenPrompt(parts, form.within_thought, thinking=True)
        parts = [*head, *(Part(*piece) for piece in parts_of(continued.text, thoughts))]
        if not thinks(continued.text, thoughts, opened=open_):
            return WrittenPrompt(parts, form.after_text, thinking=False)
        only_tag = starts_thinking(form, continued.text)
        return WrittenPrompt(parts, form if only_tag else form.within_thought, thinking=True)

    def tokenize(self, prompt: WrittenPrompt) -> list[int]:
        """Return its tokens: control tokens are those that the template and Forge wrote."""
        if all(part.control for part in prompt.parts):
            return self._model.tokenize(prompt.text)
        return self._model.tokenizer.tokenize_parts(prompt.parts)

    def mistaken(self, prompt: WrittenPrompt) -> list[str]:
        """Return the control tokens that the prompt's mere text has more than the prompt."""
        if all(part.control for part in prompt.parts):
            return []
        more = Counter(self._model.tokenize(prompt.text))
        more.subtract(self.tokenize(prompt))
        found = [id_ for id_, n in more.items() if n > 0 and self._model.is_control(id_)]
        return sorted(self._model.shown(id_).decode("utf-8", "replace") for id_ in found)

    def _guarded(self, chat: Chat) -> tuple[Chat, StandIns | None]:
        """Put stand-ins into all that the request brought, roles apart. Raises NoStandIn."""
        messages = [_read(message) for message in chat.messages]
        texts = [self._apart(message) for message in messages]
        shown = None if chat.tools is None else chat.tools.tools
        guarded, stand_ins = self._control_text.guard([texts, shown, chat.arguments])
        if stand_ins is None:
            return chat, None
        texts, shown, arguments = guarded
        return (
            msgspec.structs.replace(
                chat,
                messages=[self._whole(t, one) for t, one in zip(texts, messages, strict=True)],
                tools=chat.tools and msgspec.structs.replace(chat.tools, tools=shown),
                arguments=arguments,
            ),
            stand_ins,
        )

    def _apart(self, message: Message) -> Message:
        """Return a message without its role and the tags of its thought, which are no texts."""
        if message["role"] != "assistant" or not isinstance(message.get("content"), str):
            return {**message, "role": ""}
        pieces = parts_of(message["content"], self._chat_format.thoughts)
        return {**message, "role": "", "content": ["" if tag else text for text, tag in pieces]}

    def _whole(self, texts: Message, message: Message) -> Message:
        """Return a message with the texts that came of :meth:`_apart`."""
        whole = {**texts, "role": message["role"]}
        if isinstance(texts.get("content"), list):
            pieces = parts_of(message["content"], self._chat_format.thoughts)
            tags = (text if tag else "" for text, tag in pieces)
            whole["content"] = "".join(map(str.__add__, tags, texts["content"]))
        return whole

    def _head(self, chat: Chat, continued: Continuation | None, now: float) -> str:
        """Return what the template writes up to the answer, or to where that goes on."""
        if continued is None:
            opens = chat.add_generation_prompt is not False or chat.continue_final_message is True
            return self._in_any_order(chat, now, opens=opens)
        *earlier, last = chat.messages
        head = None
        if continued.text and self._rules.assistant_last:
            head = self._cut(chat, continued.message(last, self._mark(chat)), now)
        if head is None:  # Mistral's, whose turns of an assistant have no beginning
            head = self._in_any_order(msgspec.structs.replace(chat, messages=earlier), now)
        thoughts = self._chat_format.thoughts
        if not continued.thought:
            return before_thought(head, continued.text, thoughts)
        return head if thoughts is None else opened(head, thoughts)

    def _cut(self, chat: Chat, last: Message, now: float) -> str | None:
        """Return the prompt up to the mark in the last message; None if it is not written."""
        mark = last["content"] or last[THOUGHT]
        marked = msgspec.structs.replace(chat, messages=[*chat.messages[:-1], last])
        try:
            before, found, _ = self._in_any_order(marked, now, opens=False).rpartition(mark)
        except TemplateRefused:
            return None
        return before if found else None

    def _mark(self, chat: Chat) -> str:
        """Return a character that is nowhere in the conversation. Raises NoStandIn."""
        tools = None if chat.tools is None else chat.tools.tools
        for mark in self._control_text.unused([chat.messages, tools, chat.arguments]):
            return mark
        raise NoStandIn

    def _in_any_order(self, chat: Chat, now: float, *, opens: bool = True) -> str:
        """Render the messages as they are; if the template refuses them, in a stricter order.

        Raises :class:`TemplateFailed` or :class:`SandboxFailed`.
        """
        tried: list[list[Message]] = []
        refused: TemplateRefused | None = None
        for rules in (self._rules, *strictest(self._rules)):
            messages, tools = self._chat_format.calls.adapt(chat.messages, chat.tools, rules)
            if messages in tried:
                continue
            tried.append(messages)
            try:
                return self._sandbox.render(messages, now, tools, chat.arguments, opens=opens)
            except TemplateRefused as error:
                refused = refused or error
        assert refused is not None, "the first order is always tried"
        absent = [f"no {role} message" for role in missing(chat.messages)]
        raise TemplateRefused("; ".join([str(refused), *absent])) from refused


def _read(message: Message) -> Message:
    """Return a message whose calls' arguments are values: JSON can write a text in other ways."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    read = []
    for call in calls:
        function = call["function"]
        arguments = as_object(function["arguments"])
        read.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": read}
