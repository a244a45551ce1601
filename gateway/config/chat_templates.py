"""Chat templates by llama.cpp's names for them: ``--chat-template chatml``. Pure.

llama.cpp writes these formats with code of its own; here each is a template in Jinja, as a model
would bring it. Formats without a template here are known by name, so that they can be refused.
"""

import json
from typing import NamedTuple


class Frame(NamedTuple):
    """A format that puts each message between two texts, which depend on its role."""

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    answer: str
    """The text after which the model begins."""
    strips: bool = False
    """True: without white space around messages."""

    def template(self) -> str:
        """Return the format in Jinja."""
        content = "message.content | trim" if self.strips else "message.content"
        cases = [
            f"{{%- {'el' if at else ''}if message.role == {json.dumps(role)} -%}}"
            f"{{{{- {_quoted(before)} ~ ({content}) ~ {_quoted(after)} -}}}}"
            for at, (role, (before, after)) in enumerate(
                (("system", self.system), ("user", self.user), ("assistant", self.assistant))
            )
        ]
        opened = (
            f"{{%- if add_generation_prompt -%}}{{{{- {_quoted(self.answer)} -}}}}{{%- endif -%}}"
        )
        turns = "".join(cases)
        return f"{{%- for message in messages -%}}{turns}{{%- endif -%}}{{%- endfor -%}}{opened}"


def _quoted(text: str) -> str:
    """Return a text as Jinja writes it."""
    return json.dumps(text, ensure_ascii=False)


def _same(before: str, after: str, answer: str, *, strips: bool = False) -> Frame:
    """Return the frame of a format that writes the role's own name, for which ROLE stands here."""
    system, user, assistant = (
        (before.replace("ROLE", role), after) for role in ("system", "user", "assistant")
    )
    return Frame(system, user, assistant, answer, strips)


def _instructed(gap: str, inside: str, before_answer: str, content: str) -> str:
    """Return one of Mistral's early formats: a system message begins the user's first turn."""
    opened, closed = _quoted(f"{gap}[INST]{inside}"), _quoted(f"{gap}[/INST]")
    return (
        "{%- set ns = namespace(open=false) -%}{%- for message in messages -%}"
        f"{{%- if not ns.open -%}}{{{{- {opened} -}}}}{{%- set ns.open = true -%}}{{%- endif -%}}"
        "{%- if message.role == 'system' -%}{{- message.content ~ '\\n\\n' -}}"
        f"{{%- elif message.role == 'user' -%}}{{{{- message.content ~ {closed} -}}}}"
        f"{{%- else -%}}{{{{- {_quoted(before_answer)} ~ ({content}) ~ '</s>' -}}}}"
        "{%- set ns.open = false -%}{%- endif -%}{%- endfor -%}"
    )


def _llama_2(system: str, content: str = "message.content", begin: str = "") -> str:
    """Return a variant of Llama 2's format; ``system`` writes a system message's ``content``."""
    return (
        "{{- '[INST] ' -}}{%- set ns = namespace(open=true) -%}{%- for message in messages -%}"
        f"{{%- if not ns.open -%}}{{{{- '{begin}[INST] ' -}}}}{{%- set ns.open = true -%}}"
        f"{{%- endif -%}}{{%- set content = {content} -%}}"
        f"{{%- if message.role == 'system' -%}}{{{{- {system} -}}}}"
        "{%- elif message.role == 'user' -%}{{- content ~ ' [/INST]' -}}"
        "{%- else -%}{{- content ~ '</s>' -}}{%- set ns.open = false -%}"
        "{%- endif -%}{%- endfor -%}"
    )


_SYS = "'<<SYS>>\\n' ~ content ~ '\\n<</SYS>>\\n\\n'"
_GEMMA = (
    "{%- set ns = namespace(told='') -%}{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{%- set ns.told = ns.told ~ message.content | trim -%}"
    "{%- else -%}{%- set user = message.role == 'user' -%}"
    "{{- '<start_of_turn>' ~ ('user' if user else 'model') ~ '\\n' -}}"
    "{%- if ns.told and user -%}{{- ns.told ~ '\\n\\n' -}}{%- set ns.told = '' -%}{%- endif -%}"
    "{{- message.content | trim ~ '<end_of_turn>\\n' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"
)
_EOS = "<｜end▁of▁sentence｜>"
_COMMAND = "<|START_OF_TURN_TOKEN|>"
_GPT4 = "GPT4 Correct "
FRAMES = {
    "chatml": _same("<|im_start|>ROLE\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
    "llama3": _same(
        "<|start_header_id|>ROLE<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        strips=True,
    ),
    "phi3": _same("<|ROLE|>\n", "<|end|>\n", "<|assistant|>\n"),
    "phi4": _same("<|im_start|>ROLE<|im_sep|>", "<|im_end|>", "<|im_start|>assistant<|im_sep|>"),
    "falcon3": _same("<|ROLE|>\n", "\n", "<|assistant|>\n"),
    "zephyr": _same("<|ROLE|>\n", "<|endoftext|>\n", "<|assistant|>\n"),
    "glmedge": _same("<|ROLE|>\n", "", "<|assistant|>"),
    "chatglm4": _same("<|ROLE|>\n", "", "<|assistant|>\n"),
    "openchat": Frame(
        ("", "<|end_of_turn|>"),
        (f"{_GPT4}User: ", "<|end_of_turn|>"),
        (f"{_GPT4}Assistant: ", "<|end_of_turn|>"),
        f"{_GPT4}Assistant:",
    ),
    "vicuna": Frame(("", "\n\n"), ("USER: ", "\n"), ("ASSISTANT: ", "</s>\n"), "ASSISTANT:"),
    "vicuna-orca": Frame(
        ("SYSTEM: ", "\n"), ("USER: ", "\n"), ("ASSISTANT: ", "</s>\n"), "ASSISTANT:"
    ),
    "deepseek": Frame(
        ("", ""),
        ("### Instruction:\n", "\n"),
        ("### Response:\n", "\n<|EOT|>\n"),
        "### Response:\n",
    ),
    "deepseek2": Frame(("", "\n\n"), ("User: ", "\n\n"), ("Assistant: ", _EOS), "Assistant:"),
    "deepseek3": Frame(
        ("", "\n\n"), ("<｜User｜>", ""), ("<｜Assistant｜>", _EOS), "<｜Assistant｜>"
    ),
    "command-r": Frame(
        (f"{_COMMAND}<|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        (f"{_COMMAND}<|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        (f"{_COMMAND}<|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        f"{_COMMAND}<|CHATBOT_TOKEN|>",
        strips=True,
    ),
    "mistral-v7": Frame(
        ("[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"), ("[INST] ", "[/INST]"), (" ", "</s>"), ""
    ),
    "mistral-v7-tekken": Frame(
        ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), ("[INST]", "[/INST]"), ("", "</s>"), ""
    ),
}
TEMPLATES = {name: frame.template() for name, frame in FRAMES.items()} | {
    "chatglm4": "{{- '[gMASK]<sop>' -}}" + FRAMES["chatglm4"].template(),
    "gemma": _GEMMA,
    "llama2": _llama_2("content ~ '\\n'"),
    "llama2-sys": _llama_2(_SYS),
    "llama2-sys-bos": _llama_2(_SYS, begin="<s>"),
    "llama2-sys-strip": _llama_2(_SYS, "message.content | trim"),
    "mistral-v1": _instructed(" ", " ", " ", "message.content"),
    "mistral-v3": _instructed("", " ", " ", "message.content | trim"),
    "mistral-v3-tekken": _instructed("", "", "", "message.content"),
}
"""In Jinja, by llama.cpp's names."""
UNKNOWN = frozenset({
    "bailing", "bailing-think", "bailing2", "chatglm3", "deepseek-ocr", "exaone-moe", "exaone3",
    "exaone4", "gigachat", "gpt-oss", "granite", "granite-4.0", "granite-4.1", "grok-2",
    "hunyuan-dense", "hunyuan-moe", "hunyuan-vl", "kimi-k2", "llama4", "megrez", "minicpm",
    "monarch", "orion", "pangu-embedded", "rwkv-world", "seed_oss", "smolvlm", "solar-open",
    "yandex",
})  # fmt: skip
"""llama.cpp's names of formats that have no template here."""


def named(text: str) -> str:
    """Return the template that ``text`` is, or that it names. Raises ValueError.

    A text without Jinja in it would be every prompt, whatever is said.
    """
    if text in TEMPLATES:
        return TEMPLATES[text]
    if "{{" in text or "{%" in text:
        return text
    if text in UNKNOWN:
        raise ValueError(
            "expected a template in Jinja: llama.cpp has one of this name and Forge has not; "
            "without the option the model's own is used, and --chat-template-file takes a file"
        )
    raise ValueError(
        f"expected a template in Jinja, or one of the names {', '.join(sorted(TEMPLATES))}; "
        "--chat-template-file takes a file"
    )
