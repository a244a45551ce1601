"""Templates as texts, and how they fail. Pure.

A worker needs no more of them: only the process of its sandbox has Jinja.
"""

from collections.abc import Callable

FALLBACK = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
"""For models that bring no template: ChatML, the most widespread one."""

NAMED = {
    "mistral-v7-tekken": "{% for message in messages %}{% if message.role == 'system' %}"
    "[SYSTEM_PROMPT]{{ message.content }}[/SYSTEM_PROMPT]{% elif message.role == 'user' %}"
    "[INST]{{ message.content }}[/INST]{% else %}{{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
}
"""The templates that llama_model_chat_template names: Mistral Small 2503 brings none."""

MARKS = (
    "<|im_end|>",
    "<|im_start|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<end_of_turn>",
    "<start_of_turn>",
)
"""Ends of a turn, and beginnings of the next one. Vocabularies of models that were trained on them
have tokens for them, and llama.cpp knows which of those end a generation."""


def joined(usual: str, for_tools: str | None) -> str:
    """One template of a model's two; with tools it is the second, as Hugging Face chooses.

    Each stays as it is: no blank is trimmed around them, and of each the last newline goes, as
    Jinja has it.
    """
    if not for_tools:
        return usual
    second, first = (source.removesuffix("\n") for source in (for_tools, usual))
    return f"{{% if tools +%}}{second}{{%+ else +%}}{first}{{%+ endif %}}"


def stops(source: str | None, is_token: Callable[[str], bool]) -> list[str]:
    """Marks of a template (None: the fallback) that are mere text to the model.

    An answer that has one has ended the turn: no token tells so, and the answer would go on with
    the user's next words.
    """
    written = FALLBACK if source is None else source
    return [mark for mark in MARKS if mark in written and not is_token(mark)]


class TemplateFailed(Exception):
    """A template can't be used; the text is one line fit for the client."""


class TemplateRefused(TemplateFailed):
    """The template raised an error over these messages; over others it may not."""
