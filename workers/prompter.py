"""Conversations to prompts: the model's template, and what it insists on."""

import contextlib
from typing import Any, Protocol

from workers.chat_format import ChatFormat
from workers.llama import Model
from workers.protocol import BAD_PROMPT, COMPUTE_FAILED, NOT_SUPPORTED, Chat
from workers.refused import InputRefused
from workers.template.chat_template import TemplateFailed, TemplateRefused
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


class Prompter:
    """Writes a conversation with the model's template. For one thread."""

    def __init__(
        self, model: Model, sandbox: Sandbox, chat_format: ChatFormat, broken: str | None = None
    ) -> None:
        """``broken``: the reason why no template can write a conversation, if so."""
        self._model = model
        self._sandbox = sandbox
        self._chat_format = chat_format
        self._broken = broken
        self._rules = TurnRules()
        if broken is None:
            # One that does not end in time over a few words is found out by the first request.
            with contextlib.suppress(TemplateFailed, SandboxFailed):
                self._rules = chat_format.calls.learn(lambda asked: sandbox.probe(asked, 0.0))

    def write(self, chat: Chat, now: float) -> str:
        """Return the prompt; ``now`` (Unix s) is the date that templates see.

        Raises :class:`InputRefused`.
        """
        if self._broken is not None:
            raise InputRefused(NOT_SUPPORTED, f"this model can't chat: {self._broken}", "model")
        try:
            text = self._in_any_order(chat, now)
        except TemplateFailed as error:
            raise InputRefused(BAD_PROMPT, str(error)) from error
        except SandboxFailed as error:
            raise InputRefused(COMPUTE_FAILED, str(error)) from error
        # Many templates write BOS themselves; the tokeniser would add a second one.
        bos = self._model.special_text("bos")
        return text.removeprefix(bos) if bos and self._model.adds_bos else text

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
