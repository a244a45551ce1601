"""Templates recognised, and conversations that each of them can read."""

import json
from typing import Any

import pytest

from tests.support.family_answers import ONE_CALL, PARIS, SUM, TOOLS, TWO_CALLS, use
from tests.support.template_families import FAMILIES
from tests.support.tool_templates import TEMPLATES
from workers.chat_format import detect
from workers.template.chat_template import ChatTemplate
from workers.template.sources import FALLBACK

NAMES = {
    "forge-tiny": "hermes",
    "qwen": "hermes",
    "llama": "llama3",
    "deepseek-fenced": "deepseek",
}


@pytest.mark.parametrize("family", TEMPLATES)
def test_recognised(family: str) -> None:
    assert detect(TEMPLATES[family]).calls.name == NAMES.get(family, family)


def test_who_speaks_plainly() -> None:
    plain = {family for family, source in TEMPLATES.items() if detect(source).plain}
    assert {*TEMPLATES} - plain == {"qwen", "deepseek", "deepseek-fenced", "functionary", "harmony"}


@pytest.mark.parametrize(
    "source",
    [
        None,
        "",
        *FAMILIES.values(),
        FALLBACK,
        TEMPLATES["qwen"].replace("tools", "tolls"),
        TEMPLATES["qwen"].replace("'tool'", "'other'"),
        TEMPLATES["qwen"].replace("<tool_call>\\n{", "<tool_call>\\n<parameter=x>{"),
        "{# <tool_call> arguments\" #}{% for t in tools %}{{ 'tool' }}{% endfor %}",
    ],
)
def test_everybody_else_is_told(source: str | None) -> None:
    assert detect(source).calls.name == "generic"


def call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id_: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


USER: dict[str, Any] = {"role": "user", "content": "Weather?"}
SUNNY = result("call_abcdefghijkl", "sunny")
THREE = result("call_2", "-19")
FIRST, SECOND = call("call_abcdefghijkl", "weather", PARIS), call("call_2", "add", SUM)


def caller(*calls: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": [*calls]}


def rendered(source: str | None, *messages: dict[str, Any], tools: bool = True) -> str:
    calls = detect(source).calls
    before = json.dumps(messages)
    template = ChatTemplate(FALLBACK if source is None else source, bos="<s>", eos="</s>")
    rules = calls.learn(lambda asked: template.probe(asked, 0.0))
    adapted, shown = calls.adapt([*messages], use() if tools else None, rules)
    assert json.dumps(messages) == before, "the request's own messages stay as they are"
    return template.render(adapted, 0.0, shown)


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_call_and_its_result(family: str) -> None:
    for content in (None, "", "Let's see."):
        text = rendered(TEMPLATES[family], USER, caller(FIRST, content=content), SUNNY)
        written = ONE_CALL[family]
        if family == "mistral":
            written = written.replace("}]", ', "id": "')
        assert written in text
        assert "sunny" in text
        if content and family not in ("llama", "mistral", "phi", "harmony"):  # no room for it
            assert content in text


@pytest.mark.parametrize("family", TEMPLATES)
def test_parallel_calls(family: str) -> None:
    text = rendered(TEMPLATES[family], USER, caller(FIRST, SECOND), SUNNY, THREE, USER)
    if family in TWO_CALLS and family != "mistral":
        assert TWO_CALLS[family] in text
    else:
        assert text.index(PARIS) < text.index(SUM)
    assert text.index("sunny") < text.index("-19\n" if "-19\n" in text else "-19")


def test_one_call_for_each_turn() -> None:
    text = rendered(TEMPLATES["llama"], USER, caller(FIRST, SECOND), THREE, SUNNY)
    assert text.index(PARIS) < text.index("sunny") < text.index(SUM) < text.index('"-19"')


@pytest.mark.parametrize("family", TEMPLATES)
def test_tools_are_shown_to_those_who_may_call(family: str) -> None:
    chat_format = detect(TEMPLATES[family])
    assert '"a"' in rendered(TEMPLATES[family], USER)
    assert '"a"' not in rendered(TEMPLATES[family], USER, tools=False)
    assert chat_format.calls.adapt([USER], use(names=[])) == ([USER], None)
    assert chat_format.calls.adapt([USER], use(names=["add"])) == ([USER], TOOLS)


def test_ids_of_nine_characters() -> None:
    calls = detect(TEMPLATES["mistral"]).calls
    kept = call("AbCdEfG12", "add", SUM)
    messages = [caller(FIRST, kept), SUNNY, result("AbCdEfG12", "x")]
    (made, *results), _ = calls.adapt(messages, None)
    ids = [each["id"] for each in made["tool_calls"]]
    assert ids == [each["tool_call_id"] for each in results]
    assert ids[1] == "AbCdEfG12"
    assert len(ids[0]) == 9
    assert ids[0].isalnum()
    (made, *_), _ = detect(TEMPLATES["qwen"]).calls.adapt(messages, None)
    assert [each["id"] for each in made["tool_calls"]] == [FIRST["id"], "AbCdEfG12"], "as they were"


def test_results_in_llamas_own_role() -> None:
    only = TEMPLATES["llama"].replace(" or message.role == 'tool'", "")
    assert detect(only).calls.name == "llama3"
    assert 'ipython<|tail|>\n\n"sunny"' in rendered(only, USER, caller(FIRST), SUNNY)


def test_results_tell_their_functions_name() -> None:
    text = rendered(TEMPLATES["function-tag"], USER, caller(FIRST, SECOND), SUNNY, THREE)
    assert "weather: sunny" in text
    assert "add: -19" in text


def test_arguments_that_are_no_object_stay() -> None:
    for arguments in ("", "{", "[1]", "null"):
        (made,), _ = detect(TEMPLATES["qwen"]).calls.adapt(
            [caller(call("1", "f", arguments))], None
        )
        assert made["tool_calls"][0]["function"]["arguments"] == arguments


def test_messages_without_calls_have_no_such_key() -> None:
    """As Llama's template asks."""
    said = {"role": "assistant", "content": "a", "tool_calls": []}
    assert "assistant<|tail|>\n\na<|eot|>" in rendered(TEMPLATES["llama"], USER, said)
    none = {"role": "assistant", "content": None}
    assert "assistant<|tail|>\n\n<|eot|>" in rendered(TEMPLATES["llama"], USER, none)


@pytest.mark.parametrize("family", ["llama", ""])
def test_any_number_of_calls_is_read_once(family: str) -> None:
    """To look through all results for each call, or to write all anew for each, would not end."""
    count = 100_000
    made = caller(*(call(str(n), "add", "{}") for n in range(count)))
    results = [result(str(n), "x" * 100) for n in reversed(range(count))]
    turns, _ = detect(TEMPLATES.get(family)).calls.adapt([USER, made, *results, USER], None)
    if family:
        assert [turn["role"] for turn in turns[1:3]] == ["assistant", "tool"]
        assert len(turns) == 2 + 2 * count
    else:
        asked, _, told = turns
        assert asked == USER
        assert told["content"].count("<tool_response") == count


# --------------------------------------------------------------------------- the fallback

SYSTEM: dict[str, Any] = {"role": "system", "content": "Be brief."}


# "namespaces" writes no system message that comes first.
@pytest.mark.parametrize("family", ["", *sorted({*FAMILIES} - {"namespaces"})])
def test_templates_that_know_no_tools(family: str) -> None:
    """Roles alternate, whatever the calls."""
    source = FAMILIES.get(family)
    messages = [USER, caller(FIRST, SECOND, content="Let's see."), SUNNY, THREE, USER]
    for first in ([SYSTEM], []):
        text = rendered(source, *first, *messages)
        assert "Let's see.\n" + TWO_CALLS["qwen"] in text
        assert '<tool_response name="weather">\nsunny\n</tool_response>\n' in text
        assert '<tool_response name="add">\n-19\n</tool_response>\nWeather?' in text
        assert '{"name": "weather", "parameters": {' in text
        assert '<tool_call>\n{"name": "NAME", "arguments": {...}}\n</tool_call>' in text
        assert ("Be brief.\n\nYou have" in text) == bool(first)
    assert "You have these" not in rendered(source, SYSTEM, *messages, tools=False)


def test_told_in_the_first_question_where_there_is_no_system() -> None:
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    ignoring = (
        "{% for m in messages %}{% if m.role == 'user' %}<user>{{ m.content }}{% endif %}"
        "{% endfor %}"
    )
    for source in (refusing, ignoring):
        text = rendered(source, USER)
        assert text.startswith("<user>You have")
        assert text.endswith("\n\nWeather?")
    assert rendered("{% for m in messages %}<{{ m.role }}>{% endfor %}", USER) == "<system><user>"


def test_told_what_is_wanted() -> None:
    calls = detect(None).calls

    def told(*, required: bool = False, parallel: bool = True) -> str:
        (system, _), tools = calls.adapt([USER], use(required=required, parallel=parallel))
        assert tools is None
        return str(system["content"])

    assert "several" in told(parallel=True)
    assert "several" not in told(parallel=False)
    assert "Use a tool now" in told(required=True)
    assert "Use a tool now" not in told(required=False)
    assert calls.adapt([USER], use(names=[])) == ([USER], None)
