"""Constraints and tool calls in the engine: enforced, resumed at every token, and contained."""

import json
import math
from typing import Any

import msgspec
import pytest

from tests.support.engine_driver import Driver, generate, with_params
from workers.protocol import (
    BAD_CONSTRAINT,
    STRICT_SCHEMA,
    CallDelta,
    Chat,
    Constraint,
    Delta,
    Finished,
    Generate,
    Grammar,
    JsonSchema,
    Sampling,
    ToolUse,
)
from workers.refused import InputRefused

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "tags", "n"],
    "additionalProperties": False,
}
JSON = JsonSchema(SCHEMA)
WORDS = Grammar('root ::= ("yes " | "no "){3} "end"')
ASK = Chat([{"role": "user", "content": "What is the weather in Paris?"}])
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALLING = Chat(ASK.messages, ToolUse([WEATHER], ["get_weather"], required=False, parallel=True))
FORCED = Chat(ASK.messages, ToolUse([WEATHER], ["get_weather"], required=True, parallel=True))
WARM = Sampling(seed=5, temperature=1.2)


def bound(
    id_: int, prompt: Chat, constraint: Constraint | None, *, resume: tuple[int, ...] = ()
) -> Generate:
    request = generate(id_, prompt, sampling=WARM, max_tokens=80, ignore_eos=False, resume=resume)
    return with_params(request, constraint=constraint)


def heard(driver: Driver, id_: int) -> tuple[str, str, list[CallDelta], str]:
    """Return what the gateway would know: text, thoughts, calls and the reason to end."""
    text, reasoning, calls, reason = "", "", list[CallDelta](), ""
    for step in driver.sent:
        for event in step.events:
            if not isinstance(event, Delta | Finished) or event.id != id_:
                continue
            text += event.text
            if event.extra is not None:
                reasoning += event.extra.reasoning
                calls += event.extra.calls
            if isinstance(event, Finished):
                reason = event.reason
    return text, reasoning, calls, reason


def arguments(calls: list[CallDelta]) -> str:
    return "".join(call.arguments for call in calls)


def test_a_schema_is_enforced(exact: Driver) -> None:
    exact.alone(bound(1, ASK, JSON))
    text, _, _, reason = heard(exact, 1)
    value = json.loads(text)
    assert reason == "stop"
    assert list(value) == ["name", "tags", "n"]
    assert 0 <= value["n"] <= 99
    assert text == json.dumps(value, ensure_ascii=False), "written as Python writes it"


def test_a_grammar_is_enforced(f16: Driver) -> None:
    f16.alone(bound(1, ASK, WORDS))
    text, _, _, reason = heard(f16, 1)
    assert reason == "stop"
    assert text.removesuffix("end").split() == [w for w in text.split() if w in ("yes", "no")]
    assert len(text.split()) == 4


def test_calls_are_told_apart(exact: Driver) -> None:
    outcome = exact.alone(bound(1, CALLING, None))
    text, _, calls, reason = heard(exact, 1)
    assert (text, reason) == ("", "tool_calls")
    assert [call.name for call in calls if call.name is not None] == ["get_weather"]
    assert json.loads(arguments(calls)) == {"city": "Paris"}
    assert len(outcome.ids) > len(calls) > 2


@pytest.mark.parametrize(
    ("prompt", "constraint"),
    [(ASK, JSON), (ASK, WORDS), (CALLING, None), (CALLING, JSON), (FORCED, None)],
    ids=["schema", "grammar", "tools", "both", "forced"],
)
def test_resume_at_every_cut(exact: Driver, prompt: Chat, constraint: Constraint | None) -> None:
    """The grammar, the parser and the text go on where an earlier attempt stopped."""
    whole = exact.alone(bound(1, prompt, constraint))
    text, reasoning, calls, reason = heard(exact, 1)
    for cut in range(len(whole.ids)):
        resume = tuple(whole.ids[:cut])
        rest = exact.alone(bound(10 + cut, prompt, constraint, resume=resume))
        assert list(resume) + rest.ids == whole.ids
        more, _, later, end = heard(exact, 10 + cut)
        assert end == reason
        assert text.endswith(more)
        assert arguments(calls).endswith(arguments(later))
        assert all(call in calls for call in later if call.name is not None)
    assert reasoning == ""


def test_the_call_after_a_forced_one_is_the_models_own_choice(exact: Driver) -> None:
    """Text between calls is not masked; anything else than a call ends the answer."""
    story = Chat([{"role": "user", "content": "Tell me a story."}], FORCED.tools)
    for seed in range(8):
        sampling = Sampling(seed=seed, temperature=1.5)
        request = generate(seed + 1, story, sampling=sampling, max_tokens=300, ignore_eos=False)
        exact.alone(request)
        text, _, calls, reason = heard(exact, seed + 1)
        assert text == ""
        if reason == "tool_calls":
            assert [call.name for call in calls if call.name is not None] == ["get_weather"]


def test_neighbours_do_not_notice(exact: Driver) -> None:
    free = generate(1, ASK, sampling=WARM, max_tokens=40)
    expected = exact.alone(free).ids
    constrained = [bound(10 + i, ASK, JSON) for i in range(3)]
    together, *_ = exact.run(msgspec.structs.replace(free, id=2), *constrained)
    assert together.ids == expected
    for request in constrained:
        json.loads(heard(exact, request.id)[0])


@pytest.mark.parametrize(
    ("constraint", "param"),
    [
        (JsonSchema({"not": {}}), "response_format.not"),
        (JsonSchema({"pattern": "("}, within=("schema",)), "response_format.schema.pattern"),
        (JsonSchema({"type": "strin"}, param="json_schema"), "json_schema.type"),
        (Grammar("root ::= ("), "grammar"),
        (Grammar('start: s\ns: s s | "a" | "b" | s "c"'), "grammar"),
    ],
)
def test_refused_before_it_costs_a_step(f16: Driver, constraint: Constraint, param: str) -> None:
    with pytest.raises(InputRefused) as refused:
        f16.submit(bound(1, ASK, constraint))
    assert (refused.value.code, refused.value.param) == (BAD_CONSTRAINT, param)


def test_tools_that_cant_be_enforced(f16: Driver) -> None:
    function: dict[str, Any] = {"name": "f", "parameters": {"not": {}}, "strict": True}
    use = ToolUse([{"type": "function", "function": function}], ["f"], True, True)
    with pytest.raises(InputRefused) as refused:
        f16.submit(bound(1, Chat(ASK.messages, use), None))
    param = "tools.0.function.parameters.not"
    assert (refused.value.code, refused.value.param) == (BAD_CONSTRAINT, param)


@pytest.mark.parametrize(
    ("sources", "param"),
    [(["." * 8000], "tools.0.format.definition"), (["." * 2000] * 3, "tools.1.format.definition")],
)
def test_a_grammar_that_is_too_large_inside_json(
    f16: Driver, sources: list[str], param: str
) -> None:
    """A dot has hundreds of characters there, and what compiles it is the worker itself."""
    names = [f"patch_{n}" for n in range(len(sources))]
    text = {"type": "object", "properties": {"input": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": n, "parameters": text}} for n in names]
    grammars = {
        name: Grammar(f"start: /{source}/", f"tools.{at}.format.definition")
        for at, (name, source) in enumerate(zip(names, sources, strict=True))
    }
    use = ToolUse(tools, names, True, True, grammars)
    with pytest.raises(InputRefused, match="too large") as refused:
        f16.submit(bound(1, Chat(ASK.messages, use), None))
    assert (refused.value.code, refused.value.param) == (BAD_CONSTRAINT, param)


ODD_TOOLS: list[dict[str, Any]] = [
    {"properties": {"a": {"$ref": "#/$defs/F"}}},
    {"properties": {"a": {"pattern": "^(?!x)"}}},
    {"properties": {"a": {"pattern": "("}}, "required": None},
    {"properties": {"a": {"type": "foo"}}},
    {"properties": {"a": False}, "required": ["a"]},
    {"allOf": [{"$ref": "#"}]},
]


@pytest.mark.parametrize("parameters", ODD_TOOLS)
def test_one_odd_tool_costs_nothing(exact: Driver, parameters: dict[str, Any]) -> None:
    """The call to the other one is bound as ever."""
    assert CALLING.tools is not None
    odd = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    use = ToolUse([odd, *CALLING.tools.tools], ["odd", *CALLING.tools.callable], True, False)
    exact.alone(bound(1, Chat(CALLING.messages, use), None))
    _, _, calls, reason = heard(exact, 1)
    if reason == "tool_calls":
        assert isinstance(json.loads(arguments(calls)), dict)


@pytest.mark.parametrize(
    "schema", [{"pattern": "^(?!x)"}, {"$ref": "#/x"}, {"type": "x"}, {"enum": []}]
)
def test_the_hint_is_true(f16: Driver, schema: dict[str, Any]) -> None:
    prepare = f16.input_processor.prepare
    strict = JsonSchema(schema, within=STRICT_SCHEMA)
    with pytest.raises(InputRefused, match="'strict': false") as refused:
        prepare(bound(1, ASK, strict))
    assert str(refused.value.param).startswith("response_format.json_schema.schema.")
    assert prepare(bound(2, ASK, msgspec.structs.replace(strict, strict=False)))
    elsewhere = msgspec.structs.replace(strict, within=("schema",))
    with pytest.raises(InputRefused) as refused:
        prepare(bound(3, ASK, elsewhere))
    assert "'strict'" not in str(refused.value)


def test_when_no_token_is_left(exact: Driver) -> None:
    """A bias and a grammar may leave nothing between them: that request alone fails."""
    model = exact.input_processor._model
    beginnings = [b"y", b"ye", b"yes"]
    banned = [(token, -math.inf) for token, piece in enumerate(model.pieces) if piece in beginnings]
    assert banned
    impossible = bound(1, ASK, Grammar('root ::= "yes"'))
    sampling = msgspec.structs.replace(WARM, logit_bias=banned)
    impossible = with_params(impossible, sampling=sampling)
    failed, fine = exact.run(impossible, generate(2, ASK, max_tokens=8))
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.param) == (BAD_CONSTRAINT, "logit_bias")
    assert fine.reason == "length"
