"""Conversations to prompts: the model's template, and what it insists on."""

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from workers.chat_format import ChatFormat
from workers.chat_format.history import as_object
from workers.llama import Model
from workers.llama.tokenizer import Part
from workers.protocol import BAD_PROMPT, COMPUTE_FAILED, NOT_SUPPORTED, Chat
from workers.refused import InputRefused
from workers.template.chat_template import FALLBACK, TemplateFailed, TemplateRefused
from workers.template.control_text import ControlText, NoStandIn, StandIns
from workers.template.sandbox import SandboxFailed
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

    @property
    def text(self) -> str:
        """Return the prompt as one text, which does not tell whose its control tokens are."""
        return "".join(part.text for part in self.parts)


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
            chat, stand_ins = self._guarded(chat)
            text = self._in_any_order(chat, now)
        except NoStandIn:
            message = "the messages use every private-use character of Unicode"
            raise InputRefused(BAD_PROMPT, message, "messages") from None
        except TemplateFailed as error:
            raise InputRefused(BAD_PROMPT, str(error)) from error
        except SandboxFailed as error:
            raise InputRefused(COMPUTE_FAILED, str(error)) from error
        # Many templates write BOS themselves; the tokeniser would add a second one.
        bos = self._model.special_text("bos")
        text = text.removeprefix(bos) if bos and self._model.adds_bos else text
        if stand_ins is None:
            return WrittenPrompt([Part(text, control=True)])
        return WrittenPrompt([Part(*piece) for piece in stand_ins.pieces(text)])

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
        roles = [message["role"] for message in messages]
        texts = [{**message, "role": ""} for message in messages]
        shown = None if chat.tools is None else chat.tools.tools
        guarded, stand_ins = self._control_text.guard([texts, shown, chat.arguments])
        if stand_ins is None:
            return chat, None
        texts, shown, arguments = guarded
        return (
            msgspec.structs.replace(
                chat,
                messages=[{**t, "role": role} for t, role in zip(texts, roles, strict=True)],
                tools=chat.tools and msgspec.structs.replace(chat.tools, tools=shown),
                arguments=arguments,
            ),
            stand_ins,
        )

    def _in_any_order(self, chat: Chat, now: float) -> str:
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
                return self._sandbox.render(messages, now, tools, chat.arguments)
            except TemplateRefused as error:
                refused = refused or error
        assert refused is not None, "the first order is always tried"
        absent = [f"no {role} message" for role in missing(chat.messages)]
        raise TemplateFailed("; ".join([str(refused), *absent])) from refused


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
