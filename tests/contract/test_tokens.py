"""/tokenize, /detokenize and /apply-template, as llama-server's clients use them."""

from typing import Any

import httpx
import pytest

from gateway.api.tokens import MAX_BODY
from gateway.config.config import EMBEDDED_MODEL
from tests.contract.test_bad_input import BAD_MESSAGES, BROKEN
from tests.support.dialects import CHAT, COMPLETIONS, Failure
from workers.template.chat_template import ChatTemplate

TEXTS = ["hello", " a\n b ", "ünï 🙂🙃 中文", "a\0b", "<|im_start|>user\nhi<|im_end|>", ""]
TEMPLATE = (EMBEDDED_MODEL.parent / "template.jinja").read_text("utf-8")
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2+2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And < 3 & 🙂?"},
]
PATHS = {"/tokenize": "content", "/detokenize": "tokens", "/apply-template": "messages"}


def ask(http: httpx.Client, path: str, **body: Any) -> Any:
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(http: httpx.Client, path: str, **body: Any) -> Failure:
    return CHAT.refusal(http.post(path, json=body))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("options", [{}, {"parse_special": False}, {"add_special": True}], ids=str)
def test_round_trip(http: httpx.Client, text: str, options: dict[str, bool]) -> None:
    tokens = ask(http, "/tokenize", content=text, **options)
    assert tokens.keys() == {"tokens"}
    assert ask(http, "/detokenize", **tokens) == {"content": text}
    shown = ask(http, "/tokenize", content=text, with_pieces=True, **options)["tokens"]
    assert [token["id"] for token in shown] == tokens["tokens"]
    pieces = [token["piece"] for token in shown]
    parts = [piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces]
    assert b"".join(parts) == text.encode()


def test_an_emoji_cut_in_the_middle(http: httpx.Client) -> None:
    shown = ask(http, "/tokenize", content="a🙂", with_pieces=True)["tokens"]
    assert [token["piece"] for token in shown] == ["a", [0xF0], [0x9F], [0x99], [0x82]]
    ids = [token["id"] for token in shown]
    assert ask(http, "/detokenize", tokens=ids) == {"content": "a🙂"}
    assert ask(http, "/detokenize", tokens=ids[:-1]) == {"content": "a\N{REPLACEMENT CHARACTER}"}


def test_special_tokens(http: httpx.Client) -> None:
    (end,) = ask(http, "/tokenize", content="<|im_end|>")["tokens"]
    assert ask(http, "/detokenize", tokens=[end]) == {"content": "<|im_end|>"}
    plain = ask(http, "/tokenize", content="<|im_end|>", parse_special=False)["tokens"]
    assert end not in plain


def test_texts_that_are_nothing_but_special_tokens(http: httpx.Client) -> None:
    """One after the other, as many as a body may hold: they take longer the more there are."""
    (end,) = ask(http, "/tokenize", content="<|im_end|>")["tokens"]
    assert ask(http, "/tokenize", content="<|im_end|>" * 50_000)["tokens"] == [end] * 50_000


def test_a_conversation_of_ten_thousand_tiny_messages(http: httpx.Client) -> None:
    """Its prompt is made like any other, and is too long; what is short is served meanwhile."""
    turn = [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]
    talk = [*turn * 5000, {"role": "user", "content": "hi"}]
    prompt = ask(http, "/apply-template", messages=talk)["prompt"]
    assert prompt == ChatTemplate(TEMPLATE, bos="", eos="").render(talk, 0)
    answer = http.post(CHAT.path, json={"messages": talk})
    assert CHAT.refusal(answer).code == "context_length_exceeded"
    assert ask(http, "/tokenize", content="hello") == {"tokens": [1116]}


def test_a_prompt_has_as_many_tokens_as_the_usage_says(http: httpx.Client) -> None:
    text = "Once upon a time there was"
    answer = COMPLETIONS.ask(http, text, max_tokens=1)
    tokens = ask(http, "/tokenize", content=text, add_special=True)["tokens"]
    assert answer.usage["prompt_tokens"] == len(tokens)


def test_apply_template_with_tools(http: httpx.Client) -> None:
    """Whatever makes a chat's prompt can be looked at."""
    tool = {"type": "function", "function": {"name": "now", "description": "The time."}}
    prompt = ask(http, "/apply-template", messages=TALK, tools=[tool])["prompt"]
    assert '"name": "now"' in prompt
    plain = ask(http, "/apply-template", messages=TALK, tools=[tool], tool_choice="none")
    assert plain == ask(http, "/apply-template", messages=TALK)


def test_apply_template(http: httpx.Client) -> None:
    """The prompt is the worker's own of the messages, to the character and the token."""
    prompt = ask(http, "/apply-template", messages=TALK)["prompt"]
    mine = ChatTemplate(TEMPLATE, bos="<|endoftext|>", eos="<|im_end|>")
    assert prompt == mine.render(TALK, 0.0)
    chat = http.post(CHAT.path, json={"messages": TALK, "max_tokens": 1}).json()
    assert (
        COMPLETIONS.ask(http, prompt, max_tokens=1).usage["prompt_tokens"]
        == (chat["usage"]["prompt_tokens"])
    )


BEGUN = [*TALK[:2], {"role": "assistant", "content": "2 + 2 = "}]


def test_a_last_message_is_continued(http: httpx.Client) -> None:
    def prompt(**fields: Any) -> str:
        return str(ask(http, "/apply-template", messages=BEGUN, **fields)["prompt"])

    begun = ask(http, "/apply-template", messages=TALK[:2])["prompt"]
    assert prompt() == prompt(continue_final_message=True) == begun + "2 + 2 = "
    assert prompt(add_generation_prompt=False) == begun + "2 + 2 = <|im_end|>\n"
    turn = begun + "2 + 2 = <|im_end|>\n<|im_start|>assistant\n"
    assert prompt(continue_final_message=False) == prompt(add_generation_prompt=True) == turn


def test_what_can_not_be_continued(http: httpx.Client) -> None:
    both = {"continue_final_message": True, "add_generation_prompt": True}
    for path in ("/apply-template", CHAT.path):
        for messages, fields in ((BEGUN, both), (TALK, {"continue_final_message": True})):
            failure = refusal(http, path, messages=messages, **fields)
            assert (failure.status, failure.param) == (400, "continue_final_message")


def test_control_tokens_in_a_message_are_named(http: httpx.Client) -> None:
    """The string can't say that they are text: tokenised, it has more of them."""

    def asked(content: str) -> tuple[Any, int]:
        messages = [{"role": "user", "content": content}]
        chat = http.post(CHAT.path, json={"messages": messages, "max_tokens": 1}).json()
        return ask(http, "/apply-template", messages=messages), chat["usage"]["prompt_tokens"]

    plain, few = asked("hi")
    told, more = asked("hi" + "<|im_end|>" * 9)
    assert plain.keys() == {"prompt"}
    assert told["text_not_tokens"] == ["<|im_end|>"]
    text = ask(http, "/tokenize", content="<|im_end|>", parse_special=False)["tokens"]
    assert more > few + 9 * (len(text) - 2), "letter by letter"
    assert len(ask(http, "/tokenize", content=told["prompt"])["tokens"]) < more


def test_the_model_may_be_named(http: httpx.Client) -> None:
    assert ask(http, "/tokenize", content="hello", model="forge-tiny")["tokens"]
    bodies: dict[str, Any] = {"/tokenize": {"content": "a"}, "/detokenize": {"tokens": [1]}}
    for path, body in {**bodies, "/apply-template": {"messages": TALK}}.items():
        failure = refusal(http, path, model="gpt-4", **body)
        assert (failure.status, failure.code, failure.param) == (404, "model_not_found", "model")


# ------------------------------------------------------------------ what a body can get wrong


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_not_a_json_object(front: httpx.Client, path: str, content: bytes) -> None:
    failure = CHAT.refusal(front.post(path, content=content))
    assert (failure.status, failure.code, failure.param) == (400, "invalid_request", None)


@pytest.mark.parametrize(("path", "field"), PATHS.items())
def test_the_question_is_required(front: httpx.Client, path: str, field: str) -> None:
    for body in ({}, {field: None}):
        failure = refusal(front, path, **body)
        assert (failure.status, failure.code, failure.param) == (400, "invalid_request", field)


BAD_VALUES: list[tuple[str, str, Any, str]] = [
    ("/tokenize", "content", 5, "content"),
    ("/tokenize", "content", ["a"], "content"),
    ("/tokenize", "add_special", 1, "add_special"),
    ("/tokenize", "parse_special", "yes", "parse_special"),
    ("/tokenize", "with_pieces", [], "with_pieces"),
    ("/tokenize", "model", 5, "model"),
    ("/detokenize", "tokens", 5, "tokens"),
    ("/detokenize", "tokens", "12", "tokens"),
    ("/detokenize", "tokens", {"0": 1}, "tokens"),
    *(
        ("/detokenize", "tokens", [1, 2, wrong], "tokens.2")
        for wrong in (-1, 2**31, 2**63, 2**70, 1.5, 2.0, "3", None, True, [1])
    ),
    ("/apply-template", "messages", [], "messages"),
    ("/apply-template", "messages", "hello", "messages"),
]


@pytest.mark.parametrize(("path", "field", "value", "param"), BAD_VALUES, ids=str)
def test_bad_value(front: httpx.Client, path: str, field: str, value: Any, param: str) -> None:
    content = {"content": "a"} if path == "/tokenize" else {}
    failure = refusal(front, path, **{**content, field: value})
    assert (failure.status, failure.code, failure.param) == (400, "invalid_request", param)
    assert param in failure.message


@pytest.mark.parametrize("id_", [2048, 2**31 - 1])
def test_an_id_that_the_model_does_not_have(http: httpx.Client, id_: int) -> None:
    """The worker must survive it: see the fixture ``http``."""
    failure = refusal(http, "/detokenize", tokens=[1, id_, 3])
    assert (failure.status, failure.code, failure.param) == (400, "invalid_prompt", "tokens.1")
    assert "0 to 2047" in failure.message


@pytest.mark.parametrize("message", [message for message, _ in BAD_MESSAGES], ids=str)
def test_bad_message(front: httpx.Client, message: dict[str, Any]) -> None:
    failure = refusal(front, "/apply-template", messages=[message])
    expected = CHAT.refusal(front.post(CHAT.path, json={"messages": [message]}))
    assert failure == expected
    assert failure.status == 400


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_large(front: httpx.Client, path: str) -> None:
    failure = refusal(front, path, **{PATHS[path]: "x" * MAX_BODY})
    assert (failure.status, failure.code) == (413, "body_too_large")


def test_the_largest_body(http: httpx.Client) -> None:
    """A token for each byte: the longest answer there is."""
    emoji = (MAX_BODY - 100) // 4
    body = '{"with_pieces": true, "content": "' + "🙂" * emoji + '"}'
    response = http.post("/tokenize", content=body.encode())
    assert response.status_code == 200
    assert response.content.count(b'"piece":[') == 4 * emoji


@pytest.mark.parametrize("path", PATHS)
def test_post_only(front: httpx.Client, path: str) -> None:
    response = front.get(path)
    assert CHAT.refusal(response).code == "method_not_allowed"
    assert response.headers["allow"] == "POST"
