"""Templates in their own process: real ones render as ever, and no hostile one goes far."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.template_families import FAMILIES
from workers.template.chat_template import ROOM, ChatTemplate
from workers.template.sandbox import SandboxFailed, TemplateSandbox
from workers.template.sandbox_messages import Probed, Rendered, SandboxLimits
from workers.template.sources import FALLBACK, TemplateFailed, TemplateRefused

LIMITS = SandboxLimits(cpu_s=1, memory=256 << 20)
QUICK = SandboxLimits(cpu_s=0.3, memory=256 << 20)
"""For what never ends: it uses all of it."""
SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
NOW = datetime(2031, 2, 3).timestamp()

Open = Callable[..., TemplateSandbox]


@pytest.fixture
def sandbox() -> Iterator[Open]:
    made: list[TemplateSandbox] = []

    def start(source: str | None, limits: SandboxLimits = LIMITS) -> TemplateSandbox:
        made.append(TemplateSandbox(limits))
        made[-1].compile(source, bos="<s>", eos="</s>")
        return made[-1]

    yield start
    for each in made:
        each.close()


def talk(*turns: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


SHORT = talk(
    (SYSTEM, " Be brief. "), (USER, "2 < 3 & ü?"), (ASSISTANT, "yes "), (USER, "\U0001f600")
)
EXPECTED = {
    "headers": "<s><|head|>system<|tail|>\n\nToday Date: 03 Feb 2031\n\nBe brief.<|eot|>"
    "<|head|>user<|tail|>\n\n2 < 3 & ü?<|eot|><|head|>assistant<|tail|>\n\nyes<|eot|>"
    "<|head|>user<|tail|>\n\n\U0001f600<|eot|><|head|>assistant<|tail|>\n\n",
    "namespaces": "<|im_start|>user\n2 < 3 & ü?<|im_end|>\n<|im_start|>assistant\nyes <|im_end|>\n"
    "<|im_start|>user\n\U0001f600<|im_end|>\n<|im_start|>assistant\n",
    "alternating": "<s>[INST] 2 < 3 & ü?[/INST] yes</s>[INST]  Be brief. \n\n\U0001f600[/INST]",
    "macros": "<s><start_of_turn>user\nBe brief. \n\n2 < 3 & ü?<end_of_turn>\n"
    "<start_of_turn>model\nyes<end_of_turn>\n<start_of_turn>user\n\U0001f600<end_of_turn>\n"
    "<start_of_turn>model\n",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_templates_of_the_families(sandbox: Open, family: str) -> None:
    made = sandbox(FAMILIES[family])
    for _ in range(2):
        assert made.render(SHORT, NOW) == EXPECTED[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_as_in_this_process(sandbox: Open, family: str) -> None:
    """A conversation larger than a socket's buffer, with everything a text may hold."""
    text = "".join(map(chr, [*range(256), 0x2028, 0xFFFE, 0x10FFFF])) * 20
    turns = [(USER if n % 2 == 0 else ASSISTANT, f"{n} {text}") for n in range(99)]
    here = ChatTemplate(FAMILIES[family], bos="<s>", eos="</s>")
    assert sandbox(FAMILIES[family]).render(talk(*turns), NOW) == here.render(talk(*turns), NOW)


def test_tools_words(sandbox: Open) -> None:
    messages = talk((USER, "a"), (ASSISTANT, "<think>b</think>\nc"), (TOOL, "d"), (TOOL, "e"))
    assert sandbox(FAMILIES["namespaces"]).render(messages, NOW) == (
        "<|im_start|>user\na<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\nc<|im_end|>\n"
        "<|im_start|>user\n<answer>\nd\n</answer>\n<answer>\ne\n</answer><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    rendered = sandbox(FAMILIES["headers"]).render(messages, NOW)
    assert "<|head|>ipython<|tail|>\n\n" + json.dumps("d") + "<|eot|>" in rendered


def test_tools_and_arguments(sandbox: Open) -> None:
    made = sandbox("{{ tools[0].name }} {{ enable_thinking }} {{ messages | length }}")
    assert made.render(SHORT, NOW, [{"name": "f"}], {"enable_thinking": False}) == "f False 4"


def test_refusal(sandbox: Open) -> None:
    made = sandbox(FAMILIES["alternating"])
    with pytest.raises(TemplateFailed, match="roles must alternate"):
        made.render(talk((USER, "a"), (USER, "b")), NOW)
    assert made.render(talk((USER, "a")), NOW) == "<s>[INST] a[/INST]"


def test_no_template_is_chatml(sandbox: Open) -> None:
    here = ChatTemplate(FALLBACK, bos="", eos="")
    assert sandbox(None).render(SHORT, NOW) == here.render(SHORT, NOW)


# ------------------------------------------------------------------ hostile ones


def growing(start: str, step: str, then: str = "") -> str:
    """A value that a loop makes larger and larger."""
    loop = f"{{% for i in range(60) %}}{{% set ns.x = {step} %}}{{% endfor %}}"
    return f"{{% set ns = namespace(x={start}) %}}{loop}{then}"


ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}"
    "{{ f(100) }}",
    "recursive loop": "{% for a in [1, 2] recursive %}{% if loop.depth < 100 %}{{ loop([1, 2]) }}"
    "{% endif %}{% endfor %}",
    "one operation": "{% set n = messages | length %}{{ (n ** (3 ** 16)) // n ** (3 ** 15) }}",
    "tojson": growing("[1]", "[ns.x, ns.x]", "{{ ns.x | tojson | length }}"),
    "text of a list": growing("[1]", "[ns.x, ns.x]", "{{ ns.x | string | length }}"),
    "hash": growing("(1,)", "(ns.x, ns.x)", "{{ {ns.x: 1} | length }}"),
    "equality": growing("[1]", "[ns.x, ns.x]")
    .replace("[1]", "[1], y=[1]", 1)
    .replace("{% endfor %}", "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}"),
    "lipsum": "{{ lipsum(n=10000000) }}",
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS.keys())
def test_endless(sandbox: Open, source: str) -> None:
    """Some need more memory than time; either way it ends, and the next request is served."""
    made = sandbox("{% if messages %}" + source + "{% endif %}ok", QUICK)
    with pytest.raises(TemplateFailed, match=r"took more than 0\.3 s|needed more than 256 MiB"):
        made.render(SHORT, NOW)
    assert made.render([], NOW) == "ok"


def test_probes_have_the_limits_of_one_rendering(sandbox: Open) -> None:
    """All of them together: a worker's start waits for them."""
    source = "{% if messages[0].content == 'slow' %}{% for a in range(99999) %}"
    source += "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
    source += "{% if messages[0].content == 'no' %}{{ raise_exception('no') }}{% endif %}ok"
    made = sandbox(source, QUICK)
    assert made.probe([talk((USER, "no")), talk((USER, "yes")), []], NOW) == [None, "ok", None]
    with pytest.raises(TemplateFailed, match=r"took more than 0\.3 s"):
        made.probe([talk((USER, "slow"))] * 99, NOW)
    assert made.render(talk((USER, "yes")), NOW) == "ok"
    with pytest.raises(TemplateRefused, match="refused: no"):
        made.render(talk((USER, "no")), NOW)


HUGE = {
    "string": "{{ 'x' * 10**9 }}",
    "list": "{{ ([1] * 10**9) | length }}",
    "power": "{{ (messages | length) ** (10 ** 10) }}",
    "percent": "{{ '%01000000000d' % 1 }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "format filter": "{{ '%1000000000s' | format(1) }}",
    "center": "{{ 'x' | center(10**9) }}",
    "ljust": "{{ 'x'.ljust(10**9) }}",
    "zfill": "{{ 'x'.zfill(10**9) }}",
    "indent": "{{ ('\n' * 10**5) | indent(10**5, blank=true) }}",
    "join": "{{ range(99999) | join('x' * 10**5) }}",
    "replace": "{{ ('x' * 10**5).replace('x', 'y' * 10**5) }}",
    "concatenation": growing("'x'", "ns.x ~ ns.x"),
    "addition": growing("[1]", "ns.x + ns.x"),
    "a set block": "{% set x %}{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endset %}",
    "a constant": "{{ 'x' | center(1000000000) }}",
}


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit on address space")
@pytest.mark.parametrize("source", HUGE.values(), ids=HUGE.keys())
def test_huge(sandbox: Open, source: str) -> None:
    made = sandbox("{% if messages %}" + source + "{% endif %}ok")
    with pytest.raises(TemplateFailed, match=r"needed more than 256 MiB|took more than 1 s"):
        made.render(SHORT, NOW)
    assert made.render([], NOW) == "ok"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{{ messages[0].content * 99 }}{% endfor %}",
        "{{ messages[0].content * 10**6 }}",
        "{{ strftime_now('%%' * 10**6 * 2) }}",
        "x" * (ROOM + 10_000),
    ],
)
def test_out_of_all_proportion(sandbox: Open, source: str) -> None:
    """Within all limits, but nobody asked for so much."""
    made = sandbox(source)
    with pytest.raises(TemplateFailed, match="out of all proportion"):
        made.render(SHORT, NOW)


def test_constants_are_computed_under_the_same_limits(sandbox: Open) -> None:
    """Jinja's optimiser runs them before anything is rendered."""
    with pytest.raises(TemplateFailed, match=r"took more than 0\.3 s"):
        sandbox("{{ 3 ** (3 ** 16) // 7 ** (3 ** 15) }}", QUICK)


def test_a_long_conversation_is_in_proportion(sandbox: Open) -> None:
    content = "x" * ROOM
    made = sandbox("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}")
    assert made.render(talk((USER, content), (USER, content)), NOW) == content * 4


def test_surrogates_and_long_reasons(sandbox: Open) -> None:
    """Text that has no encoding must not end the worker; nor may a reason be a book."""
    assert sandbox(r"a{{ '\ud800' }}b").render(SHORT, NOW) == "a?b"
    made = sandbox(r"{{ raise_exception(messages[0].content ~ '\udfff ' * 10**6) }}")
    with pytest.raises(TemplateFailed, match=r"refused: a .* b") as caught:
        made.render(talk((USER, "a\n\r\x1b[2J b")), NOW)
    assert str(caught.value).encode()
    assert len(str(caught.value)) < 600


BROKEN = {
    "deep": "{{ " + "(" * 100_000,
    "deep for Python": "{{ " + "[" * 150 + "]" * 150 + " }}",
    "blocks": "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "loops": "{% for a in 'a' %}" * 25 + "{% endfor %}" * 25,
    "number": "{{ " + "9" * 5000 + " }}",
    "syntax": "\n{% if %}\n\x1b[2J",
    "not closed": "{% for a in b %}",
    "unknown": "{{ 1 | nonsense }}",
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN.keys())
def test_broken_source(sandbox: Open, source: str) -> None:
    with pytest.raises(TemplateFailed, match="chat template is broken: ") as caught:
        sandbox(source)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_nothing_is_rendered_by_what_did_not_compile(sandbox: Open) -> None:
    made = TemplateSandbox(LIMITS)
    try:
        with pytest.raises(TemplateFailed):
            made.compile("{% if %}", bos="", eos="")
        with pytest.raises(TemplateFailed, match="broken"):
            made.render(SHORT, NOW)
    finally:
        made.close()


# ------------------------------------------------------------------ the process


def test_one_that_was_killed_is_replaced(sandbox: Open) -> None:
    made = sandbox("ok")
    for number in (signal.SIGKILL, signal.SIGTERM):
        made._process.send_signal(number)
        made._process.wait()
        assert made.render(SHORT, NOW) == "ok"


def test_one_that_is_killed_at_work_is_replaced(sandbox: Open) -> None:
    """The request was sent and nobody will answer it: it is sent again."""
    made = sandbox("ok")
    made._process.send_signal(signal.SIGSTOP)
    ask, asked = made._ask, []

    def kill_first(request: Any) -> Rendered | Probed:
        asked.append(request)
        if len(asked) == 1:
            os.kill(made._process.pid, signal.SIGKILL)
        return ask(request)

    made._ask = kill_first  # type: ignore[method-assign]
    assert made.render(SHORT, NOW) == "ok"
    assert len(asked) == 3  # the one that was lost, the template, the request again


def test_one_that_stands_still_is_ended(sandbox: Open) -> None:
    made = sandbox("ok")
    made._process.send_signal(signal.SIGSTOP)
    made._socket.settimeout(0.5)  # this process's; another may be slow to start
    with pytest.raises(TemplateFailed, match="took more than 60 s"):
        made.render(SHORT, NOW)
    assert made.render(SHORT, NOW) == "ok"


def test_it_ends_with_its_worker(sandbox: Open) -> None:
    made = sandbox("ok")
    made._socket.close()
    assert made._process.wait(60) == 0


def test_no_process_to_be_had(sandbox: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sandbox("ok")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    made._process.kill()
    made._process.wait()
    with pytest.raises(SandboxFailed, match="can't be rendered: No such file"):
        made.render(SHORT, NOW)
    monkeypatch.undo()
    assert made.render(SHORT, NOW) == "ok"
