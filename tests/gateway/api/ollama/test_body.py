"""Bodies in Ollama's names: options and their defaults, forms, thoughts, what is left out."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.api.body import parse
from gateway.api.field_policy import IgnoredFields
from gateway.api.ollama.body import (
    OllamaChatBody,
    OllamaEmbedBody,
    OllamaGenerateBody,
    OllamaGeneration,
)
from gateway.core.errors import BadRequest, ImageNotSupported, UnsupportedParameter
from workers.protocol import Chat, Infill, JsonSchema, Text

HELLO = [{"role": "user", "content": "hello"}]


def chat(ignored: IgnoredFields | None = None, **fields: Any) -> OllamaChatBody:
    raw = {"messages": HELLO, **fields}
    return parse(OllamaChatBody, raw, ignored or IgnoredFields(), lambda raw: raw)


def generate(**fields: Any) -> OllamaGenerateBody:
    return parse(OllamaGenerateBody, fields, IgnoredFields())


def with_table(table: Mapping[str, Any], **options: Any) -> OllamaChatBody:
    """A body for a model whose table has defaults for sampling."""

    def completed(raw: dict[str, Any]) -> dict[str, Any]:
        filled: dict[str, Any] = OllamaChatBody.completed(raw, lambda said: {**table, **said})
        return filled

    raw = {"messages": HELLO, "options": options} if options else {"messages": HELLO}
    return parse(OllamaChatBody, raw, IgnoredFields(), completed)


# ------------------------------------------------------------------ options


def test_the_defaults_are_ollamas() -> None:
    sampling = with_table({}).chosen().sampling(temperature=1.0)
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.8, 40, 0.9)
    assert (sampling.repeat_last_n, sampling.repeat_penalty, sampling.min_p) == (64, 1.0, 0.0)


def test_the_models_table_comes_before_them_and_the_request_before_it() -> None:
    table = {"temperature": 0.1, "top_k": 7, "max_tokens": 9}
    sampling = with_table(table, top_k=3, temperature=None).chosen()
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.1, 3, 0.9)
    assert sampling.limit() == 9
    assert with_table(table, num_predict=5).chosen().limit() == 5
    assert with_table(table, num_predict=-1).chosen().limit() is None


@pytest.mark.parametrize(
    ("given", "limit"),
    [(None, None), (0, None), (-1, None), (-2, None), (1, 1), (7.9, 7), ("12", 12)],
)
def test_num_predict(given: Any, limit: int | None) -> None:
    assert chat(options={"num_predict": given}).chosen().limit() == limit


@pytest.mark.parametrize(
    ("given", "context"), [(None, None), (0, None), (-1, None), (1, 4), (8192.0, 8192), ("64", 64)]
)
def test_num_ctx_is_a_cap(given: Any, context: int | None) -> None:
    assert chat(options={"num_ctx": given}).chosen().context() == context


@pytest.mark.parametrize(("given", "kept"), [(None, 4), (0, 0), (24, 24), (-1, 2**31 - 1)])
def test_num_keep(given: Any, kept: int) -> None:
    assert chat(options={"num_keep": given}).chosen().kept() == kept


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"num_predict": "many"}, "options.num_predict"),
        ({"temperature": "hot"}, "options.temperature"),
        ({"top_k": True}, "options.top_k"),
        ({"stop": 5}, "options.stop"),
        ({"seed": [1]}, "options.seed"),
        ([], "options"),
        ("temperature 0", "options"),
    ],
)
def test_a_wrong_option_is_named(options: Any, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        with_table({}) if options is None else parse(
            OllamaChatBody,
            {"messages": HELLO, "options": options},
            IgnoredFields(),
            lambda raw: OllamaChatBody.completed(raw, lambda said: said),
        )
    assert caught.value.param == field
    assert f"'{field}'" in caught.value.message


def test_options_that_are_not_known_are_named_by_their_paths() -> None:
    ignored, raw = IgnoredFields(), {"tfs_z": 0.5, "colour": "red", "num_gpu": 99, "mirostat": 0}
    chat(ignored, options=raw, metadata={"chat_id": "x"}, sound=True)
    assert ignored.header({"options": raw}) == "sound, options.tfs_z, options.colour"


def test_forges_own_options_are_served() -> None:
    given = chat(options={"dry_multiplier": 0.5, "grammar": 'root ::= "a"', "min_tokens": 3})
    assert given.chosen().dry_multiplier == 0.5
    assert given.form() is not None
    assert given.chosen().min_tokens == 3


def test_no_client_can_say_what_others_names_are_made_into() -> None:
    ignored = IgnoredFields()
    given = chat(ignored, options={"others": {"guided_choice": ["a"]}})
    assert given.form() is None
    assert ignored.header({}) == "options.others"


def test_priority_and_timeout_stand_in_the_body_or_among_the_options() -> None:
    given = chat(options={"priority": "batch", "timeout": 3})
    assert (given.chosen().priority, given.chosen().timeout) == ("batch", 3)
    given = chat(options={"priority": 0}, priority="urgent", timeout=5)
    assert (given.chosen().priority, given.chosen().timeout) == ("urgent", 5)


# ------------------------------------------------------------------ forms and thoughts


def test_forms() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert chat().form() is None
    assert chat(format="").form() is None
    assert chat(format="json").form() == JsonSchema({"type": "object"}, False, "format")
    assert chat(format=schema).form() == JsonSchema(schema, False, "format")


@pytest.mark.parametrize("form", ["xml", 5, [], True])
def test_no_form(form: Any) -> None:
    with pytest.raises(BadRequest, match="'json' or a JSON schema") as caught:
        chat(format=form)
    assert caught.value.param == "format"


def test_two_forms() -> None:
    with pytest.raises(BadRequest) as caught:
        chat(format="json", options={"grammar": 'root ::= "a"'}).form()
    assert caught.value.param == "grammar"


@pytest.mark.parametrize(
    ("think", "told"),
    [
        (None, {}),
        ("", {}),
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("low", {"reasoning_effort": "low", "enable_thinking": True}),
        ("max", {"reasoning_effort": "high", "enable_thinking": True}),
    ],
)
def test_thoughts(think: Any, told: dict[str, Any]) -> None:
    assert chat(think=think).chat().arguments == told


# ------------------------------------------------------------------ prompts


def test_prompts() -> None:
    said = {"role": "user", "content": "hi"}
    assert generate(prompt="hi").input() == Chat([said])
    system = {"role": "system", "content": "be brief"}
    assert generate(prompt="hi", system="be brief", context=[1, 2]).input() == Chat(
        [system, said], before=[1, 2]
    )
    assert generate(prompt="hi", raw=True).input() == Text("hi")
    assert generate(prompt="a", suffix="c").input() == Infill("a", "c")
    assert generate(prompt="a", suffix="c", raw=True).input() == Infill("a", "c")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"raw": True, "system": "x"}, "system"),
        ({"raw": True, "context": [1]}, "context"),
        ({"images": ["iVBOR"]}, "images"),
    ],
)
def test_what_contradicts_a_prompt(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        generate(prompt="hi", **fields).check()
    assert caught.value.param == field
    assert isinstance(caught.value, ImageNotSupported) == (field == "images")


def test_templates_are_the_models_own() -> None:
    generate(prompt="hi", template="").check()
    with pytest.raises(UnsupportedParameter) as caught:
        generate(prompt="hi", template="{{ .Prompt }}")
    assert caught.value.param == "template"


@pytest.mark.parametrize(
    ("given", "found"), [("", []), ("a", ["a"]), ([], []), (["", "b"], ["", "b"])]
)
def test_inputs(given: Any, found: list[str]) -> None:
    assert parse(OllamaEmbedBody, {"input": given}, IgnoredFields()).input == found


@pytest.mark.parametrize("type_", [OllamaChatBody, OllamaGenerateBody])
def test_alternatives(type_: type[OllamaGeneration]) -> None:
    def asked(**fields: Any) -> int | None:
        return parse(type_, fields, IgnoredFields()).alternatives()

    assert asked() is asked(top_logprobs=3) is None
    assert (asked(logprobs=True), asked(logprobs=True, top_logprobs=3)) == (0, 3)
    with pytest.raises(BadRequest) as caught:
        asked(top_logprobs=21)
    assert caught.value.param == "top_logprobs"
