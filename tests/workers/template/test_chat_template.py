"""Chat templates: what authors may write, what they may not, and what clients are told."""

import json
from datetime import datetime
from typing import Any

import pytest

from workers.template.chat_template import ROOM, ChatTemplate
from workers.template.sources import FALLBACK, NAMED, TemplateFailed, joined, stops

USER: dict[str, object] = {"role": "user", "content": "2 < 3 & ü"}


def render(source: str, *messages: dict[str, object], now: float = 0.0) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>").render([*messages], now)


def test_messages_and_special_tokens() -> None:
    source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m['content'] }}{% endfor %}"
    assert render(source + "{{ eos_token }}", USER) == "<s>[user]2 < 3 & ü</s>"


def test_generation_prompt_is_asked_for() -> None:
    assert render("{% if add_generation_prompt %}yes{% endif %}") == "yes"


def test_blocks_leave_no_white_space() -> None:
    """Authors write for trim_blocks and lstrip_blocks."""
    source = "  {% for m in messages %}\n    {{ m.role }}\n  {% endfor %}\nend"
    assert render(source, USER) == "    user\nend"


def test_loop_controls() -> None:
    source = "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}x{% endfor %}"
    assert render(source, USER, USER, USER) == "x"


def test_tojson_does_not_escape_for_html() -> None:
    text = render("{{ messages[0] | tojson }}", USER)
    assert text == '{"role": "user", "content": "2 < 3 & ü"}'
    indented = render("{{ messages[0] | tojson(indent=2) }}", USER)
    assert indented == json.dumps(USER, indent=2, ensure_ascii=False)


def test_tojson_takes_hugging_faces_arguments() -> None:
    source = "{{ messages[0] | tojson(separators=(',', ':'), sort_keys=true) }}"
    expected = json.dumps(USER, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert render(source, USER) == expected


def test_tojson_takes_what_map_gives() -> None:
    source = "{{ messages | map(attribute='role') | tojson }}"
    assert render(source, USER, USER) == '["user", "user"]'
    with pytest.raises(TemplateFailed, match="Undefined is not JSON"):
        render("{{ nothing | tojson }}")


def test_nothing_is_escaped_for_html_beside_what_is_safe() -> None:
    source = "{{ messages[0] | tojson | safe + messages[0].content + '<' ~ '\"' | safe }}"
    assert render(source, USER) == json.dumps(USER, ensure_ascii=False) + '2 < 3 & ü<"'


def test_templates_for_tools_alone_render_without_any() -> None:
    """Some go through the tools without a look whether there are."""
    listed = "{% for tool in tools %}{{ tool.name }}{% endfor %}"
    assert render(listed + "{{ messages[0].role }}", USER) == "user"
    assert render("{{ tools is none }}", USER) == "True"
    with pytest.raises(TemplateFailed, match="'NoneType' object is not iterable"):
        render(listed + "{{ raise_exception('no tools') }}", USER)


def test_date_is_that_of_the_request() -> None:
    """Not that of the rendering: a resumed request must render the same prompt."""
    moment = datetime(2031, 2, 3, 4, 5)
    text = render("{{ strftime_now('%Y-%m-%d %H:%M') }}", now=moment.timestamp())
    assert text == "2031-02-03 04:05"


def test_the_date_that_llama_takes() -> None:
    source = "{% if not date_string is defined %}26 Jul 2024{% else %}{{ date_string }}{% endif %}"
    now = datetime(2031, 2, 3, 4, 5).timestamp()
    assert render(source, now=now) == "03 Feb 2031"
    template = ChatTemplate(source, bos="", eos="")
    assert template.render([], now, None, {"date_string": "today"}) == "today"


def test_refusal_of_the_template_reaches_the_client() -> None:
    source = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(TemplateFailed, match="template refused: roles must alternate"):
        render(source, USER)


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ x", "{% for %}", "{% nonsense %}", "{{ 1 | no }}"]
)
def test_broken_source(source: str) -> None:
    with pytest.raises(TemplateFailed, match="chat template is broken"):
        ChatTemplate(source, bos="", eos="")


@pytest.mark.parametrize(
    "expression",
    [
        "messages.__class__",
        "messages.__class__.__mro__",
        "''.__class__.__mro__[1].__subclasses__()",
        "raise_exception.__globals__",
        "strftime_now.__self__.__class__()",
        "messages.append({})",
        "messages[0].update({})",
        "messages[0].pop('role')",
        "'{0.__class__.__mro__}'.format(messages)",
        "range(999999999)",
    ],
)
def test_sandbox(expression: str) -> None:
    """A model file is a download; its template gets no way out, and changes nothing."""
    message: dict[str, object] = {"role": "user", "content": "x"}
    try:
        text = render("{{ " + expression + " }}", message)
    except TemplateFailed:
        text = ""
    assert text == ""
    assert message == {"role": "user", "content": "x"}


def test_undefined_values() -> None:
    # As in Hugging Face's environment: printing one is nothing, using one is an error.
    assert render("[{{ nothing }}]{% if tools %}x{% endif %}") == "[]"
    for use in ("nothing.deeper", "messages[5].role", "nothing()", "nothing + 1"):
        with pytest.raises(TemplateFailed, match="template refused"):
            render("{{ " + use + " }}", USER)


@pytest.mark.parametrize(
    "expression",
    ["1 // 0", "messages[0].content + 1", "'x'.index('y')", "{}['x'].y", "10.0 ** 1000"],
)
def test_errors_inside_templates_are_not_bugs_of_ours(expression: str) -> None:
    with pytest.raises(TemplateFailed):
        render("{{ " + expression + " }}", USER)


def test_endless_recursion() -> None:
    source = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"
    with pytest.raises(TemplateFailed, match="recursion"):
        render(source)


def test_fallback_is_chatml() -> None:
    system: dict[str, object] = {"role": "system", "content": "be brief"}
    assert render(FALLBACK, system, USER) == (
        "<|im_start|>system\nbe brief<|im_end|>\n"
        "<|im_start|>user\n2 < 3 & ü<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_marks_that_are_no_tokens_end_an_answer() -> None:
    llama = "<|start_header_id|>{{ messages[0].role }}<|end_header_id|>{{ '<|eot_id|>' }}"
    chatml = ["<|im_end|>", "<|im_start|>"]
    assert stops(None, lambda mark: False) == stops(FALLBACK, lambda mark: False) == chatml
    assert stops(None, lambda mark: True) == []
    assert stops(None, lambda mark: mark == "<|im_end|>") == ["<|im_start|>"]
    assert stops(llama, lambda mark: False) == ["<|eot_id|>", "<|start_header_id|>"]
    assert stops("{{ messages[0].content }}", lambda mark: False) == []


@pytest.mark.parametrize(
    "usual", ["{{ messages[0].content }}", "\n  a  \n ", "{% if x %}b\n{% endif %}\n"]
)
@pytest.mark.parametrize(
    "for_tools",
    [
        "{{ tools | tojson }}",
        "\n\n  {% set x = 1 %}\n  {{ x }}\n  ",
        "{% macro m(t) %}<{{ t }}>{% endmacro %}{% for t in tools %}{{ m(t.name) }} {% endfor %}\n",
    ],
)
def test_a_template_for_tools_beside_the_usual_one(usual: str, for_tools: str) -> None:
    """Each says what it says alone, to the last blank."""

    def said(source: str, tools: list[dict[str, Any]] | None) -> str:
        template = ChatTemplate(source, bos="<s>", eos="</s>")
        return template.render([{"role": "user", "content": "hi"}], 0.0, tools)

    both, tools = joined(usual, for_tools), [{"name": "add"}]
    assert said(both, None) == said(usual, None)
    assert said(both, tools) == said(for_tools, tools)
    assert joined(usual, None) == usual


def test_a_template_that_llama_cpp_knows_by_its_name() -> None:
    """Mistral Small 2503, as https://docs.mistral.ai/guides/tokenization has V7-Tekken."""
    talk: list[dict[str, object]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    assert render(NAMED["mistral-v7-tekken"], *talk) == (
        "[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello!</s>[INST]Bye[/INST]"
    )


def test_generation_blocks_are_transparent() -> None:
    """Some models mark the assistant's words for their trainers."""
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert render(source, USER) == USER["content"]


def test_tools_and_arguments_are_variables() -> None:
    source = "{{ tools | tojson }} {% if enable_thinking %}thinks{% endif %} {{ messages[0].role }}"
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert template.render([USER], 0.0, tools, {"enable_thinking": True}) == (
        json.dumps(tools) + " thinks user"
    )
    assert template.render([USER], 0.0) == "null  user"


@pytest.mark.parametrize(
    ("source", "untold"),
    [
        ("a{% if not enable_thinking %}</think>{% endif %}", "a"),
        ("a{% if not enable_thinking and not tools %}</think>{% endif %}", "a"),
        ("a{% if not enable_thinking is defined %}</think>{% endif %}", "a</think>"),
        ("a{% if not enable_thinking | default(false) %}</think>{% endif %}", "a</think>"),
        ("a{% if not enable_thinking %}</think>{% endif %}{{ enable_thinking }}", "a</think>"),
        ("a{% if enable_thinking %}{% else %}</think>{% endif %}", "a</think>"),
        ("a", "a"),
    ],
)
def test_templates_that_take_thinking_for_granted(source: str, untold: str) -> None:
    """Without the variable they would close every thought; others look, or are off by default."""
    template = ChatTemplate(source, bos="", eos="")
    assert template.render([USER], 0.0) == untold


def test_a_request_says_no_to_what_a_template_takes_for_granted() -> None:
    template = ChatTemplate("{% if not enable_thinking %}</think>{% endif %}", bos="", eos="")
    assert template.render([USER], 0.0, None, {"enable_thinking": False}) == "</think>"


@pytest.mark.parametrize("tools", [None, [], [{"type": "function", "function": {"name": "f"}}]])
def test_templates_that_want_functions_and_a_date(tools: list[dict[str, Any]] | None) -> None:
    """Firefunction adds both to a text without a look whether they are there."""
    template = ChatTemplate("{{ 'F: ' + functions + ' ' + datetime }}", bos="", eos="")
    now = datetime(2031, 2, 3).timestamp()
    functions = {None: "", 0: "[]", 1: '[\n    {\n        "name": "f"\n    }\n]'}
    wanted = functions[None if tools is None else len(tools)]
    assert template.render([USER], now, tools) == f"F: {wanted} Feb 03 2031"
    mine = {"functions": "mine", "datetime": "now"}
    assert template.render([USER], now, tools, mine) == "F: mine now", "as with date_string"


def test_without_tools_there_are_no_functions() -> None:
    source = "{% if functions is defined %}x{% endif %}{{ functions }}"
    assert render(source, USER) == ""


def test_arguments_change_nothing_of_ours() -> None:
    source = (
        "{{ bos_token }}{{ eos_token }}{{ messages | length }}{{ tools is none }}"
        "{{ add_generation_prompt }}{{ strftime_now('%Y') }}"
    )
    ours = ("bos_token", "eos_token", "messages", "tools", "add_generation_prompt", "strftime_now")
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    now = datetime(2031, 2, 3).timestamp()
    assert template.render([USER], now, None, dict.fromkeys(ours, "x")) == "<s></s>1TrueTrue2031"
    guarded = ChatTemplate("{{ raise_exception('no') }}", bos="", eos="")
    with pytest.raises(TemplateFailed, match="no"):
        guarded.render([USER], now, None, {"raise_exception": "x"})


def test_room_grows_with_tools_and_arguments() -> None:
    template = ChatTemplate("{{ tools[0].x * 9 }}{{ y * 9 }}", bos="", eos="")
    text = "x" * ROOM
    assert len(template.render([USER], 0.0, [{"x": text}], {"y": text})) == 18 * ROOM
