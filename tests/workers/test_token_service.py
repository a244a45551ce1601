"""Questions and their answers, on real llama.cpp; templates in the test's own process."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import DirectSandbox, loaded
from tests.support.f32 import f32_copy
from workers.chat_format import detect
from workers.llama import Model
from workers.prompter import Prompter
from workers.protocol import (
    BAD_PROMPT,
    COMPUTE_FAILED,
    Answered,
    ApplyTemplate,
    Ask,
    Chat,
    Detokenize,
    Question,
    QuestionFailed,
    Tokenize,
)
from workers.template.sandbox import SandboxFailed
from workers.template.sources import TemplateFailed
from workers.token_service import TokenService

NOW = 1.9e9
CHAT = Chat([{"role": "user", "content": "2 < 3 & ü?"}])
TEXTS = ["hello", " Once upon\n a time ", "ünï 🙂🙃", "a\0b", "<|im_start|>user\nhi<|im_end|>", ""]


def prompter(model: Model, source: str | None = None) -> Prompter:
    source = source or model.chat_template or ""
    bos, eos = model.special_text("bos"), model.special_text("eos")
    return Prompter(model, DirectSandbox(source, bos=bos, eos=eos), detect(source), template=source)


@pytest.fixture
def token_service(f16_model: Model) -> TokenService:
    return TokenService(f16_model, lambda: prompter(f16_model))


@pytest.fixture(scope="module")
def bos_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Its tokeniser and its template both want BOS in front."""
    path = tmp_path_factory.mktemp("bos") / "bos.gguf"
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }};{% endfor %}"
    f32_copy(EMBEDDED_MODEL, path, template, add_bos=True)
    with loaded(path) as model:
        yield model


def told(token_service: TokenService, question: Question) -> Any:
    answer = token_service.answer(Ask(7, question))
    assert isinstance(answer, Answered), answer
    assert answer.id == 7
    return json.loads(answer.json)


def tokens(token_service: TokenService, text: str, add: bool = False, parse: bool = True) -> Any:
    return told(token_service, Tokenize(text, add, parse, False))["tokens"]


def pieces(token_service: TokenService, text: str, parse: bool = True) -> list[tuple[int, Any]]:
    found = told(token_service, Tokenize(text, False, parse, True))["tokens"]
    assert all(token.keys() == {"id", "piece"} for token in found)
    return [(token["id"], token["piece"]) for token in found]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("parse", [True, False])
def test_round_trip(token_service: TokenService, f16_model: Model, text: str, parse: bool) -> None:
    ids = tokens(token_service, text, parse=parse)
    assert ids == f16_model.tokenize(text, add_special=False, parse_special=parse)
    assert told(token_service, Detokenize(ids)) == {"content": text}
    shown = pieces(token_service, text, parse=parse)
    assert [id_ for id_, _ in shown] == ids
    parts = [p.encode() if isinstance(p, str) else bytes(p) for _, p in shown]
    assert b"".join(parts) == text.encode()


def test_a_part_of_a_character_is_bytes(token_service: TokenService) -> None:
    """The same token each time, also when it was met before."""
    for _ in range(2):
        shown = [piece for _, piece in pieces(token_service, "a🙂b")]
        assert shown == ["a", [0xF0], [0x9F], [0x99], [0x82], "b"]


def test_a_character_without_its_end(token_service: TokenService) -> None:
    cut = tokens(token_service, "a🙂")[:-1]
    assert told(token_service, Detokenize(cut)) == {"content": "a\N{REPLACEMENT CHARACTER}"}


def test_special_tokens(token_service: TokenService, f16_model: Model) -> None:
    (eos,) = tokens(token_service, "<|im_end|>")
    assert eos in f16_model.eog
    assert pieces(token_service, "<|im_end|>") == [(eos, "<|im_end|>")]
    assert eos not in tokens(token_service, "<|im_end|>", parse=False)
    assert len(tokens(token_service, "<|im_end|>", parse=False)) > 1


def test_what_the_model_wants_around_a_text(bos_model: Model) -> None:
    token_service = TokenService(bos_model, lambda: prompter(bos_model))
    (bos,) = tokens(token_service, bos_model.special_text("bos"))
    plain = tokens(token_service, "hello")
    assert tokens(token_service, "hello", add=True) == [bos, *plain]
    assert tokens(token_service, "hello", add=True, parse=False) == [bos, *plain]


def test_the_prompt_is_the_one_that_is_tokenised(bos_model: Model) -> None:
    """As the tokeniser will add BOS, it is not in the text: one would be too many."""
    token_service = TokenService(bos_model, lambda: prompter(bos_model))
    assert told(token_service, ApplyTemplate(CHAT, NOW)) == {"prompt": "2 < 3 & ü?;"}


@pytest.mark.parametrize("id_", [-1, 2048, 2**31 - 1, -(2**31), 2**62])
def test_ids_that_the_model_does_not_have(
    token_service: TokenService, f16_model: Model, id_: int
) -> None:
    """llama.cpp would end the process."""
    assert f16_model.n_vocab == 2048
    answer = token_service.answer(Ask(3, Detokenize([5, 6, id_, 7])))
    assert isinstance(answer, QuestionFailed)
    assert (answer.id, answer.code, answer.param) == (3, BAD_PROMPT, "tokens.2")
    assert answer.message == f"'tokens.2': token ids of this model are 0 to 2047, not {id_}"


def test_every_id_of_the_model_has_a_text(token_service: TokenService, f16_model: Model) -> None:
    everything = list(range(f16_model.n_vocab))
    assert told(token_service, Detokenize(everything))["content"]


def test_a_conversation(token_service: TokenService, f16_model: Model) -> None:
    expected = prompter(f16_model).write(CHAT, NOW).text
    assert "2 < 3 & ü?" in expected
    assert told(token_service, ApplyTemplate(CHAT, NOW)) == {"prompt": expected}


def test_a_template_that_refuses(f16_model: Model) -> None:
    source = "{{ raise_exception('no') }}"
    token_service = TokenService(f16_model, lambda: prompter(f16_model, source))
    declined = token_service.answer(Ask(1, ApplyTemplate(CHAT, NOW)))
    assert declined == QuestionFailed(1, BAD_PROMPT, "the model's chat template refused: no", None)
    assert tokens(token_service, "hello")


def test_a_template_is_got_when_it_is_needed(f16_model: Model) -> None:
    """And once; but if there was no process to be had, the next question tries again."""
    calls: list[str] = []
    failures: list[Exception] = [SandboxFailed("no process"), TemplateFailed("broken")]

    def make() -> Prompter:
        calls.append("made")
        if failures:
            raise failures.pop(0)
        return prompter(f16_model)

    token_service = TokenService(f16_model, make)
    tokens(token_service, "hello")
    told(token_service, Detokenize([5]))
    assert calls == []
    question = ApplyTemplate(CHAT, NOW)
    assert token_service.answer(Ask(1, question)) == QuestionFailed(
        1, COMPUTE_FAILED, "no process", None
    )
    assert token_service.answer(Ask(2, question)) == QuestionFailed(2, BAD_PROMPT, "broken", None)
    assert told(token_service, question) == told(token_service, question)
    assert len(calls) == 3
