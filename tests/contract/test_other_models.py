"""Models unlike the embedded one: with tokens for infilling, or a template that makes it think."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.dialects import CHAT, COMPLETIONS, INFER, MESSAGES, RESPONSES, Dialect
from tests.support.f32 import f32_copy
from tests.support.server import ALIAS, DEADLINE_S, MODEL, ForgeServer
from tests.support.shared_servers import SharedServers

FIM = {"fim_pre_token_id": 300, "fim_suf_token_id": 301, "fim_mid_token_id": 302}
PROJECT = {"fim_rep_token_id": 303, "fim_sep_token_id": 304}
THINKING = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is not defined or enable_thinking %}{{- '<think>\\n' }}{%- endif %}
{#- past turns end their thoughts with </think> #}
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, shared_servers: SharedServers) -> ForgeServer:
    """The embedded model with both."""
    folder = tmp_path_factory.mktemp("other")
    f32_copy(MODEL, folder / "other.gguf", THINKING, token_ids=FIM | PROJECT)
    return shared_servers("--workers", "1", "--slots", "4", model=folder / "other.gguf")


@pytest.fixture(scope="module")
def http(other: ForgeServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=other.url, timeout=DEADLINE_S) as client:
        yield client


def tokens(http: httpx.Client, text: str) -> int:
    return len(http.post("/tokenize", json={"content": text}).json()["tokens"])


def test_infill(http: httpx.Client, other: ForgeServer) -> None:
    prefix, suffix = "Once upon a time", "The end."
    answer = COMPLETIONS.ask(http, prefix, suffix=suffix, max_tokens=5, temperature=0)
    expected = len(FIM) + tokens(http, prefix) + tokens(http, suffix)
    assert answer.usage["prompt_tokens"] == expected
    stream = COMPLETIONS.stream(http, prefix, suffix=suffix, max_tokens=5, temperature=0)
    assert COMPLETIONS.joined(stream) == answer.text
    with openai.OpenAI(base_url=f"{other.url}/v1", api_key="any") as client:
        again = client.completions.create(
            model=ALIAS, prompt=prefix, suffix=suffix, max_tokens=5, temperature=0
        )
    assert again.choices[0].text == answer.text


def test_special_tokens_in_what_is_filled_in_are_text(http: httpx.Client) -> None:
    """A file to be completed may hold the name of a control token."""
    plain = COMPLETIONS.ask(http, "a <|im_end|> b", suffix="c", max_tokens=1)
    assert plain.usage["prompt_tokens"] > len(FIM) + tokens(http, "a <|im_end|> b") + 1


def test_an_empty_suffix_asks_for_nothing(http: httpx.Client) -> None:
    answer = COMPLETIONS.ask(http, "Once upon", suffix="", max_tokens=1)
    assert answer.usage["prompt_tokens"] == tokens(http, "Once upon")


@pytest.mark.parametrize(
    ("change", "param"),
    [({"prompt": [1, 2]}, "suffix"), ({"echo": True}, "echo"), ({"suffix": 5}, "suffix")],
)
def test_bad_infill(http: httpx.Client, change: dict[str, Any], param: str) -> None:
    body = {"prompt": "a", "suffix": "b", **change}
    failure = COMPLETIONS.refusal(http.post(COMPLETIONS.path, json=body))
    assert (failure.status, failure.param) == (400, param)


def ids(http: httpx.Client, text: str) -> list[int]:
    """The tokens of a text in which control tokens are mere text."""
    answer = http.post("/tokenize", json={"content": text, "parse_special": False})
    found: list[int] = answer.json()["tokens"]
    return found


GAP: dict[str, Any] = {
    "input_prefix": "def add(a, b):\n<|im_end|>",
    "input_suffix": "\n\nprint(add(2, 3))\n",
    "prompt": "    return ",
    "input_extra": [
        {"text": "int a;\n", "filename": "a.h", "time": [1, 2]},
        {"text": "a nameless one\n"},
    ],
}
GREEDY: dict[str, Any] = {"n_predict": 8, "temperature": 0}


def test_a_gap_in_a_project(http: httpx.Client) -> None:
    """The tokens are llama-server's, in its order: the same prompt given as ids says the same."""
    expected = [
        *(303, *ids(http, "myproject\n")),
        *(304, *ids(http, "a.h\n"), *ids(http, "int a;\n")),
        *(304, *ids(http, "tmp\n"), *ids(http, "a nameless one\n")),
        *(304, *ids(http, "filename\n")),
        *(300, *ids(http, GAP["input_prefix"]), *ids(http, "    return ")),
        *(301, *ids(http, GAP["input_suffix"]), 302),
    ]
    filled = http.post("/infill", json=GAP | GREEDY)
    assert filled.status_code == 200, filled.text
    same = http.post("/completion", json={"prompt": expected, **GREEDY}).json()
    body = filled.json()
    assert body["tokens_evaluated"] == len(expected)
    assert (body["content"], body["prompt"]) == (same["content"], same["prompt"])
    assert body.keys() == same.keys()


def test_a_gap_too_large_for_the_context_is_cut(http: httpx.Client) -> None:
    extra = [{"text": f"line {at}\n" * 200} for at in range(40)]
    long = {"input_prefix": "x = 1\n" * 4000, "input_suffix": "y = 2\n" * 4000}
    answer = http.post("/infill", json={**GAP, **long, **GREEDY, "input_extra": extra})
    assert answer.status_code == 200, answer.text
    n_ctx = http.get("/props").json()["default_generation_settings"]["n_ctx"]
    assert n_ctx // 2 < answer.json()["tokens_evaluated"] <= n_ctx - GREEDY["n_predict"]
    assert answer.json()["tokens_predicted"] > 0


def test_an_editor_warms_the_cache(http: httpx.Client) -> None:
    """As llama.vim does: no token, no sampler, no field; the next request starts from it."""
    chunks = {"input_extra": [{"text": "some file of the project\n" * 20, "filename": "w.py"}]}
    warm = {
        **chunks,
        "input_prefix": "",
        "input_suffix": "",
        "prompt": "",
        "n_predict": 0,
        "temperature": 0.0,
        "samplers": [],
        "stream": False,
        "cache_prompt": True,
        "t_max_prompt_ms": 1,
        "t_max_predict_ms": 1,
        "response_fields": [""],
    }
    answer = http.post("/infill", json=warm)
    assert (answer.status_code, answer.json()) == (200, {})
    assert "x-ignored-parameters" not in answer.headers
    wanted: dict[str, Any] = {
        **chunks,
        "input_prefix": "a = ",
        "input_suffix": "\n",
        "prompt": "",
        "n_predict": 4,
        "samplers": ["top_k", "top_p", "infill"],
        "top_k": 40,
        "top_p": 0.99,
        "n_indent": 0,
        "response_fields": ["content", "timings/cache_n", "tokens_cached", "truncated"],
    }
    found = http.post("/infill", json=wanted).json()
    assert found.keys() == set(wanted["response_fields"])
    assert found["timings/cache_n"] > 60
    assert found["truncated"] is False


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_prefix": None}, "input_prefix"),
        ({"input_suffix": 5}, "input_suffix"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"input_extra": {}}, "input_extra"),
        ({"input_extra": [{}]}, "input_extra.0.text"),
        ({"input_extra": [{"filename": 123, "text": "abc"}]}, "input_extra.0.filename"),
        ({"input_extra": [{"text": 5}]}, "input_extra.0.text"),
        ({"samplers": ["infill", "infill"]}, "samplers"),
    ],
)
def test_a_bad_gap(http: httpx.Client, change: dict[str, Any], param: str) -> None:
    answer = http.post("/infill", json={**GAP, **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def message(http: httpx.Client, **params: Any) -> dict[str, Any]:
    body = CHAT.body("what is 2+2?", temperature=0, max_tokens=30, **params)
    found: dict[str, Any] = http.post(CHAT.path, json=body).json()["choices"][0]["message"]
    return found


def test_thoughts_are_told_apart(http: httpx.Client) -> None:
    """The prompt ends inside a thought, which this model does not know how to end."""
    found = message(http)
    assert found["reasoning_content"]
    assert found["content"] == ""
    chunks = CHAT.stream(http, "what is 2+2?", temperature=0, max_tokens=30)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    pieces = [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta]
    assert "".join(pieces) == found["reasoning_content"]
    assert len(pieces) > 1
    assert not any(delta.get("content") for delta in deltas)


@pytest.mark.parametrize(
    "params",
    [{"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}],
    ids=["effort", "template"],
)
def test_without_a_thought(http: httpx.Client, params: dict[str, Any]) -> None:
    found = message(http, **params)
    assert "reasoning_content" not in found
    assert found["content"]


def test_a_schema_holds_for_what_follows_the_thought(http: httpx.Client) -> None:
    schema = {"type": "integer", "minimum": 10, "maximum": 99}
    found = message(http, json_schema=schema, reasoning_effort="none")
    assert 10 <= int(found["content"]) <= 99
    assert message(http, json_schema=schema)["content"] in ("", *map(str, range(10, 100)))


# ------------------------------------------------------------------ thoughts with a limit

LONG: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 40}
QUESTION = "what is 2+2?"
WAYS: list[tuple[Dialect, dict[str, Any]]] = [
    (CHAT, {"thinking_budget_tokens": 8}),
    (CHAT, {"reasoning_budget_tokens": 8}),
    (CHAT, {"reasoning_budget": 8}),
    (CHAT, {"thinking_budget": 8}),
    (CHAT, {"thinking": {"type": "enabled", "budget_tokens": 8}}),
    (CHAT, {"reasoning": {"max_tokens": 8}}),
    (RESPONSES, {"thinking_budget_tokens": 8}),
    (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 8}}),
    (MESSAGES, {"thinking": {"type": "adaptive"}, "thinking_budget_tokens": 8}),
]


def thought_of(dialect: Dialect, body: Any) -> str:
    """The thought in a whole answer."""
    if dialect is CHAT:
        return str(body["choices"][0]["message"].get("reasoning_content", ""))
    if dialect is MESSAGES:
        blocks = body["content"]
        return "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    items = [item for item in body.get("output", []) if item["type"] == "reasoning"]
    return "".join(part["text"] for item in items for part in item["content"])


@pytest.fixture(scope="module")
def limited(http: httpx.Client) -> tuple[str, str]:
    """The thought and the text of an answer with a limit of eight tokens."""
    answer = CHAT.ask(http, QUESTION, **LONG, thinking_budget_tokens=8)
    assert answer.usage["completion_tokens"] == LONG["max_tokens"], "those of the thought count"
    assert answer.text
    return thought_of(CHAT, answer.body), answer.text


@pytest.mark.parametrize(("dialect", "fields"), WAYS, ids=str)
def test_a_thought_with_a_limit(
    http: httpx.Client, limited: tuple[str, str], dialect: Dialect, fields: dict[str, Any]
) -> None:
    """The same in all dialects and under all names."""
    answer = dialect.ask(http, QUESTION, **LONG, **fields)
    assert "x-ignored-parameters" not in answer.headers
    assert (thought_of(dialect, answer.body), answer.text) == limited
    endless = thought_of(CHAT, CHAT.ask(http, QUESTION, **LONG).body)
    assert endless.startswith(limited[0])
    assert len(endless) > len(limited[0])
    streamed = dialect.stream(http, QUESTION, **LONG, **fields)
    assert dialect.joined(streamed) == limited[1]


@pytest.mark.parametrize("dialect", [CHAT, INFER, RESPONSES, MESSAGES], ids=str)
def test_no_thought(http: httpx.Client, dialect: Dialect) -> None:
    """The template begins none."""
    plain = CHAT.ask(http, QUESTION, **LONG, enable_thinking=False)
    answer = dialect.ask(http, QUESTION, **LONG, thinking_budget_tokens=0)
    assert thought_of(dialect, answer.body) == ""
    assert answer.text == plain.text
    assert answer.usage["prompt_tokens"] == plain.usage["prompt_tokens"]


def test_a_thought_that_is_asked_for_and_not_allowed(http: httpx.Client) -> None:
    """It is closed where it begins."""
    answer = CHAT.ask(http, QUESTION, **LONG, think=True, thinking_budget_tokens=0)
    assert thought_of(CHAT, answer.body) == ""
    assert answer.text


def test_last_words(http: httpx.Client, limited: tuple[str, str]) -> None:
    fields: dict[str, Any] = {
        "thinking_budget_tokens": 8,
        "reasoning_budget_message": " That will do.",
    }
    answer = CHAT.ask(http, QUESTION, **LONG, **fields)
    thought = thought_of(CHAT, answer.body)
    assert thought.startswith(limited[0])
    assert thought.endswith(" That will do.")


def test_each_choice_has_the_limit(http: httpx.Client) -> None:
    seeded = {**LONG, "temperature": 1.0, "thinking_budget_tokens": 8}
    body = CHAT.body(QUESTION, **seeded, n=3, seed=7)
    choices = http.post(CHAT.path, json=body).json()["choices"]
    thoughts = {choice["message"]["reasoning_content"] for choice in choices}
    assert len(thoughts) > 1
    assert all(choice["message"]["content"] for choice in choices)


def test_a_form_after_a_thought_with_a_limit(http: httpx.Client) -> None:
    schema = {"type": "integer", "minimum": 10, "maximum": 99}
    found = message(http, json_schema=schema, thinking_budget_tokens=8)
    assert found["reasoning_content"]
    assert 10 <= int(found["content"]) <= 99


def test_a_call_after_a_thought_with_a_limit(http: httpx.Client) -> None:
    tool = {"type": "function", "function": {"name": "now"}}
    asked: dict[str, Any] = {
        "tools": [tool],
        "tool_choice": "required",
        "thinking_budget_tokens": 8,
    }
    answer = CHAT.ask(http, QUESTION, temperature=0, max_tokens=100, **asked)
    assert answer.reason == "tool_calls"
    found = answer.body["choices"][0]["message"]
    assert found["reasoning_content"]
    assert [call["function"]["name"] for call in found["tool_calls"]] == ["now"]


def test_probabilities_of_a_thought_with_a_limit(
    http: httpx.Client, limited: tuple[str, str]
) -> None:
    fields: dict[str, Any] = {"thinking_budget_tokens": 8, "logprobs": True, "top_logprobs": 1}
    answer = CHAT.ask(http, QUESTION, **LONG, **fields)
    assert (thought_of(CHAT, answer.body), answer.text) == limited
    told = answer.body["choices"][0]["logprobs"]["content"]
    assert len(told) == answer.usage["completion_tokens"]


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        (CHAT, {"thinking_budget_tokens": -2}, "thinking_budget_tokens"),
        (CHAT, {"thinking_budget_tokens": "many"}, "thinking_budget_tokens"),
        (CHAT, {"reasoning_budget": 1.5}, "reasoning_budget"),
        (CHAT, {"reasoning_budget": 1, "thinking_budget_tokens": 2}, "reasoning_budget"),
        (CHAT, {"reasoning_budget_message": "x" * 1025}, "reasoning_budget_message"),
        (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": "x"}},
         "thinking.budget_tokens"),
    ],
)  # fmt: skip
def test_bad_limits(
    http: httpx.Client, dialect: Dialect, fields: dict[str, Any], param: str
) -> None:
    failure = dialect.refusal(http.post(dialect.path, json=dialect.body(**fields)))
    assert (failure.status, failure.param) == (400, param)
