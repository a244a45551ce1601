"""Thoughts with a budget, on real llama.cpp: closed at their place, whatever happens meanwhile."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine_driver import DirectSandbox, Driver, driver, generate, with_params
from tests.support.thinking import END, THINKS
from tests.workers.engine.test_engine_constraints import WEATHER, heard
from tests.workers.engine.test_engine_drafts import Guessing, told
from workers.chat_format import detect
from workers.input_processor import InputProcessor
from workers.llama import Model
from workers.protocol import Chat, Generate, JsonSchema, Sampling, Tokens, ToolUse

ASKED = [{"role": "user", "content": "Tell me a story."}]
STORY = Chat(ASKED)
WARM = Sampling(seed=5, temperature=1.2)
SCHEMA = JsonSchema({"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}})
CALLS = Chat(ASKED, ToolUse([WEATHER], ["get_weather"], required=False, parallel=True))
FORCED = Chat(ASKED, ToolUse([WEATHER], ["get_weather"], required=True, parallel=True))
OPENS_ITSELF = "{{ messages[0].content + '\\n' }}{#- #}{{ '' if '</think>' else '' }}"


def taught(made: Driver, model: Model, source: str = THINKS, *, drafts: bool = False) -> Driver:
    """Return the driver with another template."""
    sandbox = DirectSandbox(source, bos="", eos="")
    made.input_processor = InputProcessor(
        model, sandbox, detect(source), 512, made.shape, drafts=drafts
    )
    return made


@pytest.fixture
def thinker(exact: Driver, f32_model: Model) -> Driver:
    return taught(exact, f32_model)


def thought(
    id_: int, limit: int | None, prompt: Chat = STORY, *, max_tokens: int = 40, **more: Any
) -> Generate:
    params = {name: more.pop(name) for name in ("constraint", "thought_end") if name in more}
    request = generate(id_, prompt, max_tokens=max_tokens, **more)
    return with_params(request, thought_limit=limit, **params)


def text_of(model: Model, ids: list[int]) -> str:
    return b"".join(model.shown(id_) for id_ in ids).decode("utf-8", "replace")


def closing(model: Model, text: str = END) -> list[int]:
    return model.tokenize(text, add_special=False)


@pytest.mark.parametrize("sampling", [Sampling(0, 0.0), WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("limit", [0, 1, 9])
def test_a_thought_is_closed(
    thinker: Driver, f32_model: Model, limit: int, sampling: Sampling
) -> None:
    endless = thinker.alone(thought(1, None, sampling=sampling))
    assert heard(thinker, 1)[0] == "", "it does not stop by itself"
    found = thinker.alone(thought(2, limit, sampling=sampling))
    end = closing(f32_model)
    assert found.ids[:limit] == endless.ids[:limit]
    assert found.ids[limit : limit + len(end)] == end
    assert (len(found.ids), found.reason) == (40, "length"), "all are tokens of the answer"
    said, reasoning, _, _ = heard(thinker, 2)
    assert reasoning == text_of(f32_model, found.ids[:limit]).strip()
    assert said == text_of(f32_model, found.ids[limit + len(end) :]).lstrip()
    assert said


def test_what_follows_is_what_the_model_says_after_such_a_thought(
    thinker: Driver, f32_model: Model
) -> None:
    found = thinker.alone(thought(1, 9))
    at = 9 + len(closing(f32_model))
    prompter = thinker.input_processor._prompter
    prompt = prompter.tokenize(prompter.write(STORY, 0.0))
    same = thinker.alone(
        generate(2, Tokens([*prompt, *found.ids[:at]]), max_tokens=len(found.ids) - at)
    )
    assert same.ids == found.ids[at:]


def test_a_budget_that_is_not_used_up_changes_nothing(thinker: Driver) -> None:
    plain, limited = (thinker.alone(thought(id_, limit)) for id_, limit in ((1, None), (2, 10**6)))
    assert (plain.ids, plain.text) == (limited.ids, limited.text)


def test_a_model_that_does_not_think_has_no_thought_to_close(exact: Driver) -> None:
    plain, limited = (exact.alone(thought(id_, limit)) for id_, limit in ((1, None), (2, 0)))
    assert (plain.ids, plain.text) == (limited.ids, limited.text)


def test_last_words(thinker: Driver, f32_model: Model) -> None:
    """They are text, whatever they say, and can't close the thought by themselves."""
    found = thinker.alone(thought(1, 4, thought_end="\n<|im_end|> Enough.</think>More"))
    said, reasoning, _, reason = heard(thinker, 1)
    assert reasoning == text_of(f32_model, found.ids[:4]).lstrip() + "\n<|im_end|> Enough."
    assert "More" not in said
    assert reason == "length"


@pytest.mark.parametrize("logprobs", [None, 2])
@pytest.mark.parametrize(
    ("prompt", "constraint"),
    [(STORY, None), (STORY, SCHEMA), (CALLS, None), (FORCED, None)],
    ids=["text", "schema", "tools", "forced"],
)
def test_resumed_at_every_token(
    thinker: Driver, prompt: Chat, constraint: JsonSchema | None, logprobs: int | None
) -> None:
    """Inside the thought, inside the tag that closes it, and after it."""
    more: dict[str, Any] = {"constraint": constraint, "logprobs": logprobs, "sampling": WARM}
    if constraint is not None or prompt.tools is not None:
        more["ignore_eos"] = False
    whole = thinker.alone(thought(1, 5, prompt, **more))
    text, reasoning, calls, reason = heard(thinker, 1)
    assert reasoning
    assert logprobs is None or len(whole.logprobs) >= len(whole.ids) - 1
    for cut in range(1, min(5 + len(END) + 3, len(whole.ids))):
        resume = tuple(whole.ids[:cut])
        rest = thinker.alone(thought(10 + cut, 5, prompt, resume=resume, **more))
        assert [*resume, *rest.ids] == whole.ids
        later = heard(thinker, 10 + cut)
        assert text.endswith(later[0])
        assert reasoning.endswith(later[1])
        assert "".join(c.arguments for c in calls).endswith("".join(c.arguments for c in later[2]))
        assert reason == later[3]


def test_probabilities_change_nothing(thinker: Driver, f32_model: Model) -> None:
    plain = thinker.alone(thought(1, 5, sampling=WARM))
    told = thinker.alone(thought(2, 5, sampling=WARM, logprobs=1))
    assert (told.ids, told.text) == (plain.ids, plain.text)
    assert [each.chosen.id for each in told.logprobs] == plain.ids
    end = closing(f32_model)
    forced = told.logprobs[5 : 5 + len(end)]
    assert [each.chosen.id for each in forced] == end
    assert any(each.chosen.id != each.top[0].id for each in forced), "the model's own opinion"


def test_a_form_begins_after_the_thought(thinker: Driver) -> None:
    thinker.alone(thought(1, 6, constraint=SCHEMA, ignore_eos=False, max_tokens=60))
    said, reasoning, _, reason = heard(thinker, 1)
    assert reasoning
    assert reason == "stop"
    assert isinstance(json.loads(said), dict)


def test_a_call_comes_after_the_thought(thinker: Driver) -> None:
    thinker.alone(thought(1, 6, FORCED, ignore_eos=False, max_tokens=80))
    said, reasoning, calls, reason = heard(thinker, 1)
    assert (said, reason) == ("", "tool_calls")
    assert reasoning
    assert [call.name for call in calls if call.name] == ["get_weather"]
    json.loads("".join(call.arguments for call in calls))


def test_a_call_that_has_begun_in_the_thought_is_let_be(thinker: Driver, f32_model: Model) -> None:
    """It ends the thought itself; nothing fits in the middle of its head."""
    begun = closing(f32_model, 'Well. <tool_call>\n{"name": "get_')
    limit = len(begun) - 2
    request = thought(1, limit, CALLS, resume=tuple(begun), ignore_eos=False, max_tokens=80)
    found = thinker.alone(request)
    said, reasoning, calls, reason = heard(thinker, 1)
    assert found.failure is None
    assert (said, reasoning, reason) == ("", "", "tool_calls")
    assert [call.name for call in calls if call.name] == ["get_weather"]


def test_a_thought_that_the_model_opens_itself(exact: Driver, f32_model: Model) -> None:
    taught(exact, f32_model, OPENS_ITSELF)
    opened, end = closing(f32_model, "<think>"), closing(f32_model, "</think>")
    for limit in (0, 3):
        more = closing(f32_model, "Let me see what it is.")[:limit]
        resume = tuple(opened + more)
        found = exact.alone(thought(limit, limit, resume=resume))
        assert found.ids[: len(end)] == end
        assert heard(exact, limit)[0]


def test_parked_in_the_middle(thinker: Driver) -> None:
    plain = thinker.alone(thought(1, 6, sampling=WARM, logprobs=0))
    request = thought(2, 6, sampling=WARM, logprobs=0)
    (outcome,) = thinker.submit(request)
    for steps in (5, 4, 3):  # in the thought, and twice in its end
        thinker.step(steps)
        thinker.park(2)
        thinker.step()
        thinker.unpark(request)
    thinker.run()
    assert outcome.parked == 3
    assert (outcome.ids, outcome.text) == (plain.ids, plain.text)


@pytest.fixture
def guesser(f32_model: Model, f32_path: Any) -> Iterator[tuple[Driver, Guessing]]:
    drafting = Guessing()
    with driver(f32_model, f32_path, n_ctx=2048, exact=True, drafting=drafting) as made:
        yield taught(made, f32_model, drafts=True), drafting


@pytest.mark.parametrize("right", [True, False])
def test_drafts_change_nothing(guesser: tuple[Driver, Guessing], right: bool) -> None:
    """Right drafts have the end of the thought, wrong ones what would have been said instead."""
    made, drafting = guesser
    plain, endless = made.alone(thought(1, 8)), made.alone(thought(2, None))
    known = plain.ids if right else endless.ids
    drafting.guess = told(known)
    drafted = made.alone(thought(3, 8))
    assert (drafted.ids, drafted.text) == (plain.ids, plain.text)
    assert drafted.deltas < plain.deltas, "some were right"
