"""Conversations in any order, through templates that insist on one."""

from typing import Any

import pytest

from tests.support.template_families import FAMILIES
from tests.support.tool_templates import TEMPLATES
from tests.workers.template.test_golden_templates import FOLDER, NOW
from workers.chat_format import detect
from workers.template.chat_template import ChatTemplate
from workers.template.sources import FALLBACK, TemplateRefused
from workers.template.turns import TurnRules, arrange, missing, strictest, with_one_head

Message = dict[str, Any]
PUBLISHED = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.jinja"))}
SOURCES = {**PUBLISHED, **TEMPLATES, **FAMILIES, "fallback": FALLBACK}
CALLS = [
    {
        "id": "AbCdEf123",
        "type": "function",
        "function": {"name": "look", "arguments": {"at": "the sky"}},
    }
]


def said(role: str, content: str, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def compiled(source: str) -> tuple[ChatTemplate, TurnRules]:
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    return template, detect(source).calls.learn(lambda asked: template.probe(asked, NOW))


def orders() -> list[str]:
    """Return every conversation of up to four turns by its roles' first letters."""
    found = [""]
    for _ in range(4):
        found += [order + role for order in found[-(3 ** len(found[-1])) :] for role in "sua"]
    return found[1:]


@pytest.mark.parametrize("family", SOURCES)
def test_every_order_is_taken_and_nothing_is_lost(family: str) -> None:
    source = SOURCES[family]
    template, rules = compiled(source)
    calls = detect(source).calls
    roles = {"s": "system", "u": "user", "a": "assistant"}
    assert len(orders()) == 3 + 9 + 27 + 81
    for order in orders():
        if order.endswith("a") and not rules.assistant_last:
            continue  # Mistral's write the system's words into the last question, if that is last
        messages = [said(roles[role], f"text {at}") for at, role in enumerate(order)]
        adapted, tools = calls.adapt(messages, None, rules)
        text = template.render(adapted, NOW, tools)
        for at in range(len(order)):
            assert text.count(f"text {at}") == 1, (order, text)
        users = [text.index(f"text {at}") for at, role in enumerate(order) if role in "ua"]
        assert users == sorted(users), (order, text)


@pytest.mark.parametrize("family", SOURCES)
def test_a_conversation_that_goes_on_begins_as_before(family: str) -> None:
    """A later system message changes nothing of what comes before it."""
    source = SOURCES[family]
    template, rules = compiled(source)
    before = [said("system", "Be brief."), said("user", "Hi."), said("assistant", "Hello.")]
    after = [said("system", "Be kind."), said("user", "Who are you?")]
    known, _ = detect(source).calls.adapt(before, None, rules)
    grown, _ = detect(source).calls.adapt([*before, *after], None, rules)
    assert grown[: len(known)] == known
    text = template.render(grown, NOW)
    assert text.index("Hello.") < text.index("Be kind.") < text.index("Who are you?")


@pytest.mark.parametrize("family", ["mistral-v3", "mistral-v3-tekken"])
def test_a_question_after_a_result(family: str) -> None:
    template, rules = compiled(PUBLISHED[family])
    assert not rules.user_after_tool
    asked = [
        said("user", "Is it blue?"),
        said("assistant", "", tool_calls=CALLS),
        said("tool", "yes", tool_call_id="AbCdEf123"),
        said("user", "And the sea?"),
    ]
    adapted, _ = detect(PUBLISHED[family]).calls.adapt(asked, None, rules)
    assert [message["role"] for message in adapted] == [
        "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    assert "And the sea?" in template.render(adapted, NOW)


@pytest.mark.parametrize("family", ["mistral-v3", "mistral-v3-tekken"])
def test_a_question_after_a_call_without_a_result(family: str) -> None:
    """As agents send it whose user broke in."""
    template, rules = compiled(PUBLISHED[family])
    asked = [
        said("user", "Is it blue?"),
        said("assistant", "", tool_calls=CALLS),
        said("user", "Never mind."),
    ]
    adapted, _ = detect(PUBLISHED[family]).calls.adapt(asked, None, rules)
    assert "Never mind." in template.render(adapted, NOW)
    adapted, _ = detect(PUBLISHED[family]).calls.adapt(asked[1:], None, rules)
    assert "Never mind." in template.render(adapted, NOW)


def test_calls_and_thoughts_are_joined_too() -> None:
    rules = TurnRules(assistant_pairs=False)
    one = said("assistant", "Well.", reasoning_content="Hm.", tool_calls=CALLS)
    (joined,) = arrange([said("assistant", "", reasoning_content="Oh."), one, one], rules)
    assert joined["content"] == "Well.\n\nWell."
    assert joined["reasoning_content"] == "Oh.\n\nHm.\n\nHm."
    assert joined["tool_calls"] == CALLS * 2


def test_any_number_of_neighbours_is_joined_at_once() -> None:
    """To join each with all before it would not end."""
    count, text = 200_000, "x" * 100
    told, asked, made = said("system", text), said("user", text), said("assistant", text)
    made["tool_calls"] = CALLS
    strict = TurnRules(later_system=False, user_pairs=False, assistant_pairs=False)
    for joined in (
        *with_one_head([told] * count),
        *arrange([asked] + [told] * (count - 1), strict),
        *arrange([asked] * count, strict),
        *arrange([asked, *[made] * count], strict)[1:],
    ):
        assert len(joined["content"]) == count * (len(text) + 2) - 2
        assert len(joined.get("tool_calls", ())) in (0, count)


def test_one_head() -> None:
    user = said("user", "Hi.")
    head = [said("system", "A"), said("developer", "B"), said("system", "")]
    assert with_one_head([*head, user]) == [said("system", "A\n\nB"), user]
    assert with_one_head([user, *head]) == [user, *head]
    assert with_one_head([]) == []


def test_a_template_that_takes_nothing_gets_what_there_is() -> None:
    for source in ("{{ raise_exception('no') }}", "words", "{{ missing.name.more }}"):
        assert compiled(source)[1] == TurnRules()


def test_a_template_that_wants_a_system_message() -> None:
    source = (
        "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    template, rules = compiled(source)
    assert rules == TurnRules(no_system=False)
    assert template.render(arrange([said("user", "Hi.")], rules), NOW) == "<system><user>Hi."


def test_a_template_that_refuses_empty_text() -> None:
    source = (
        "{% for m in messages %}{% if not m.content or loop.index0 % 2 != "
        "(1 if m.role == 'assistant' else 0) %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    template, rules = compiled(source)
    messages = arrange([said("assistant", "Hello."), said("user", "Hi.")], rules)
    assert template.render(messages, NOW) == "<user>...<assistant>Hello.<user>Hi."


def test_a_dropped_system_message_is_told_by_the_user() -> None:
    """Written nowhere, it would be lost without a word."""
    source = (
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    template, rules = compiled(source)
    messages = arrange([said("system", "Be brief."), said("user", "Hi.")], rules)
    assert template.render(messages, NOW) == "<user>Be brief.\n\nHi."


def test_stricter_rules_help_where_the_probes_saw_nothing() -> None:
    """A template may look at more than they tell: here at what a message says."""
    source = (
        "{% for m in messages %}{% if m.role == 'system' and 'kind' in m.content %}"
        "{{ raise_exception('not that') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    template, rules = compiled(source)
    messages = [said("user", "Hi."), said("system", "Be kind.")]
    with pytest.raises(TemplateRefused):
        template.render(arrange(messages, rules), NOW)
    stricter = next(iter(strictest(rules)))
    assert template.render(arrange(messages, stricter), NOW) == "<user>Hi.\n\nBe kind."


def test_what_is_missing() -> None:
    assert missing([said("system", "A")]) == ["user"]
    assert missing([said("tool", "A")]) == ["user", "assistant"]
    assert missing([said("user", "A")]) == []
