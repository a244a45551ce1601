"""A model's way to make calls, and its chat template's way to read earlier ones. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from workers.chat_format.generic import PromptedTools
from workers.chat_format.grammar import call_rules
from workers.chat_format.history import Message, TemplateTools, Tools
from workers.chat_format.layout import Layout
from workers.chat_format.parser import CallParser
from workers.chat_format.template_quirks import TemplateQuirks
from workers.chat_format.thoughts import Thoughts
from workers.json_schema import Judge
from workers.protocol import ToolUse
from workers.template.turns import Ask, TurnRules, arrange, learn, with_one_head

FREE = TurnRules()
"""Rules of a template that takes turns in any order."""


@dataclass(frozen=True)
class CallFormat:
    """A model's way to make calls, and its template's way to read them."""

    name: str
    layout: Layout
    history: TemplateTools | PromptedTools
    quirks: TemplateQuirks

    def adapt(
        self, messages: list[Message], use: ToolUse | None, rules: TurnRules = FREE
    ) -> tuple[list[Message], Tools | None]:
        """Messages and tools as the template reads them, in an order that it takes.

        ``messages`` are OpenAI's: content is text or None, a call's arguments are JSON. A model
        that may call nothing is shown no tools, yet sees earlier calls and their results.
        """
        messages = with_one_head(messages)
        if isinstance(self.history, PromptedTools):  # it makes plain turns of calls and results
            adapted, tools = self.history.adapt(messages, use)
            return self.quirks.adapt(arrange(adapted, rules)), tools
        adapted, shown = self.history.adapt(arrange(messages, rules), use)
        return self.quirks.adapt(adapted), shown or None

    def learn(self, ask: Ask) -> TurnRules:
        """Return the rules of the template that ``ask`` renders with."""

        def adapted(conversations: list[list[Message]]) -> list[str | None]:
            return ask([self.adapt(messages, None)[0] for messages in conversations])

        return learn(adapted)

    def grammar(
        self,
        use: ToolUse,
        content: str,
        special: Callable[[str], str],
        *,
        free: bool = True,
        judge: Judge | None = None,
    ) -> str:
        """Rules of a Lark grammar in llguidance's dialect; they define ``answer``.

        The others' names begin with ``call_``. ``content`` is the name of the rule for an answer
        that is text. ``free``: that rule takes any text, so calls may follow some; otherwise an
        answer is one or the other. ``special`` gives how the grammar writes a control token
        (``<[id]>``), or the quoted text if that is none: a token whose bytes are plain text to
        llguidance is no control token here. ``judge``: see
        :func:`workers.json_schema.enforceable`. Raises :class:`workers.json_schema.Unenforceable`.
        """
        return call_rules(self.layout, use, content, special, free=free, judge=judge)

    def in_thoughts(self, use: ToolUse | None) -> list[str]:
        """Return the beginnings of calls that end a thought; none if nothing may be called."""
        layout = self.layout
        if use is None or layout.inside is None or not layout.ends_thoughts:
            return []
        return list(layout.heads([layout.inside], use.callable))

    def parser(self, use: ToolUse | None) -> CallParser:
        """For one answer. Without functions to call, all is content."""
        return CallParser(self.layout, use.callable if use else [])


@dataclass(frozen=True)
class ChatFormat:
    """The habits of a model, as its template tells them."""

    calls: CallFormat
    thoughts: Thoughts | None
    preserved: tuple[str, ...]
    """Texts that have to be seen in the output, even if they are control tokens."""

    @property
    def after_text(self) -> "ChatFormat":
        """The habits in an answer whose text has begun: no thought comes any more."""
        calls = replace(self.calls, layout=self.calls.layout.after_text)
        return replace(self, calls=calls, thoughts=None)

    @property
    def within_thought(self) -> "ChatFormat":
        """The habits in an answer of whose thought the prompt has some."""
        thoughts = self.thoughts and replace(self.thoughts, begun=True)
        return replace(self, thoughts=thoughts)

    @property
    def plain(self) -> bool:
        """Return whether an answer without calls is all content, with nothing to take off."""
        return self.thoughts is None and not self.calls.layout.says
