"""POST /v1/embeddings over real sockets; what the vectors are is compared with llama.cpp's own."""

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import llama_cpp
import numpy as np
import openai
import pytest
from gguf import PoolingType

from tests.conftest import Start
from tests.contract.test_openai_client import extras
from tests.support.dialects import CHAT, DIALECTS, Failure
from tests.support.encoder import WIDTH, encoder
from tests.support.server import ALIAS, ForgeServer
from tests.support.vectors import Reference, reference, same, unpacked

URL = "/v1/embeddings"
TEXTS = ["Once upon a time", "2 + 2 =", "x"]


@pytest.fixture(scope="module")
def direct(exact: tuple[Path, tuple[str, ...]]) -> Iterator[Reference]:
    """The exact server's model, without a server."""
    with reference(exact[0], llama_cpp.LLAMA_POOLING_TYPE_MEAN) as made:
        yield made


@pytest.fixture(scope="module")
def client(exact_server: ForgeServer) -> Iterator[openai.OpenAI]:
    base_url = f"{exact_server.url}/v1"
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client


def ask(http: httpx.Client, given: Any, **params: Any) -> list[list[float]]:
    """The vectors; the answer's shape is checked to the last key."""
    response = http.post(URL, json={"input": given, **params})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body.keys() == {"object", "data", "model", "usage"}
    assert (body["object"], body["model"]) == ("list", ALIAS)
    assert all(item.keys() == {"object", "index", "embedding"} for item in body["data"])
    assert {item["object"] for item in body["data"]} == {"embedding"}
    assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
    assert body["usage"].keys() == {"prompt_tokens", "total_tokens"}
    return [item["embedding"] for item in body["data"]]


def refusal(http: httpx.Client, body: dict[str, Any], headers: Any = None) -> Failure:
    return CHAT.refusal(http.post(URL, json=body, headers=headers))


# ------------------------------------------------------------------ what comes out


def test_the_official_client(client: openai.OpenAI, direct: Reference) -> None:
    """It asks for base64 and decodes that itself."""
    answer = client.embeddings.create(model=ALIAS, input=TEXTS, user="somebody")
    assert list(extras(answer)) == []
    assert (answer.object, answer.model) == ("list", ALIAS)
    assert [item.index for item in answer.data] == [0, 1, 2]
    tokens = [direct.tokens(text) for text in TEXTS]
    for item, ids in zip(answer.data, tokens, strict=True):
        assert item.object == "embedding"
        assert same(item.embedding, direct.vector(ids))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, tokens))


@pytest.mark.parametrize("form", ["text", "texts", "ids", "lists of ids"])
def test_every_form_of_input(
    client: openai.OpenAI, exact_http: httpx.Client, direct: Reference, form: str
) -> None:
    ids = [direct.tokens(text) for text in TEXTS]
    forms: dict[str, Any] = {
        "text": TEXTS[0],
        "texts": TEXTS,
        "ids": ids[0],
        "lists of ids": ids,
    }
    expected = [direct.vector(tokens) for tokens in ids]
    if form in ("text", "ids"):
        expected = expected[:1]
    found = client.embeddings.create(model=ALIAS, input=forms[form]).data
    assert len(found) == len(expected)
    for item, vector in zip(found, expected, strict=True):
        assert same(item.embedding, vector)
    for embedding, vector in zip(ask(exact_http, forms[form]), expected, strict=True):
        assert same(embedding, vector)


def test_llama_servers_forms_of_input(exact_http: httpx.Client, direct: Reference) -> None:
    """Texts and ids in turn, objects, and all of them in one list."""
    text = "hello there"
    ids = direct.tokens(text)
    rest = exact_http.post("/tokenize", json={"content": " there"}).json()["tokens"]
    forms: list[Any] = [
        ids,
        ["hello", *rest],
        {"prompt_string": text},
        {"prompt_string": ids},
        {"content": [{"type": "text", "text": "hello"}, {"type": "text", "text": " there"}]},
    ]
    expected = direct.vector(ids)
    for form in forms:
        (vector,) = ask(exact_http, form)
        assert same(vector, expected), form
    assert [same(vector, expected) for vector in ask(exact_http, [text, *forms])] == [True] * 6


def test_llama_servers_older_form_of_answer(exact_http: httpx.Client, direct: Reference) -> None:
    for body in ({"content": TEXTS[:2]}, {"input": TEXTS[:2]}):
        found = exact_http.post("/embedding", json=body).json()
        assert [item["index"] for item in found] == [0, 1]
        for text, item in zip(TEXTS, found, strict=False):
            assert item.keys() == {"index", "embedding"}
            (vector,) = item["embedding"]
            assert same(vector, direct.vector(direct.tokens(text)))
    refused = exact_http.post("/embedding", json={"encoding_format": "float"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "content")


def test_an_empty_text_has_the_tokens_that_the_model_adds(exact_http: httpx.Client) -> None:
    """In llama-server's form and in Ollama's, as there; this model adds none. OpenAI refuses it."""
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("/embedding", {"content": ["a", ""]}, "input.1"),
        ("/embedding", {"content": {"prompt_string": ""}}, "input"),
        ("/api/embed", {"model": ALIAS, "input": ["a", ""]}, "input.1"),
    ]
    for path, body, param in asked:
        answer = exact_http.post(path, json=body)
        assert answer.status_code == 400
        assert f"'{param}': it holds no token" in answer.text


def test_floats_are_the_bytes(http: httpx.Client) -> None:
    """Base64 holds little-endian float32; JSON's numbers are exactly those."""
    for params in ({}, {"dimensions": 7}):
        (numbers,) = ask(http, "hello", encoding_format="float", **params)
        body = {"input": "hello", "encoding_format": "base64", **params}
        text = http.post(URL, json=body).json()["data"][0]["embedding"]
        assert unpacked(base64.b64decode(text)).tolist() == numbers


def test_dimensions(exact_http: httpx.Client) -> None:
    (whole,) = ask(exact_http, "hello")
    assert math.isclose(math.hypot(*whole), 1, rel_tol=1e-5)
    for count in (1, 10, len(whole)):
        (part,) = ask(exact_http, "hello", dimensions=count)
        length = math.hypot(*whole[:count])
        assert same(part, [value / length for value in whole[:count]])


def test_as_many_inputs_as_there_may_be(http: httpx.Client) -> None:
    """Far more than slots; each gets its own vector, in order."""
    ids = [[5 + index % 97] for index in range(2048)]
    vectors = np.array(ask(http, ids))
    kinds = vectors[:97]
    assert [5 + int(np.argmax(kinds @ vector)) for vector in vectors] == [id_ for (id_,) in ids]


def test_a_long_input(exact_http: httpx.Client, direct: Reference) -> None:
    """More tokens than one step takes."""
    ids = [5 + index % 500 for index in range(1000)]
    (vector,) = ask(exact_http, [ids])
    assert same(vector, direct.vector(ids))


def test_headers(answering: httpx.Client) -> None:
    headers = {"X-Priority": "urgent"}
    response = answering.post(URL, json={"input": "x"}, headers=headers)
    assert response.headers["x-priority"] == "2"
    assert "x-seed" not in response.headers, "nothing is drawn"
    body = {"input": "x", "priority": 0.5, "timeout": 60}
    assert answering.post(URL, json=body, headers=headers).headers["x-priority"] == "0.5"


# ------------------------------------------------------------------ what is refused

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "input", "required"),
    ({"input": None}, "input", "a list of token ids"),
    ({"input": {"text": "x"}}, "input", "prompt_string"),
    ({"input": {"prompt_string": "x", "content": []}}, "input.content", "at least 1 item"),
    ({"input": [True]}, "input", "a list of token ids"),
    ({"input": [1.5]}, "input", "a list of token ids"),
    ({"input": ["x", 1.5]}, "input", "a list of token ids"),
    ({"input": ["x", {"content": "x"}]}, "input.1.content", "list"),
    ({"input": ""}, "input", "at least 1 character"),
    ({"input": []}, "input", "at least 1 item"),
    ({"input": ["x", ""]}, "input.1", "at least 1 character"),
    ({"input": [[5], []]}, "input.1", "at least 1 item"),
    ({"input": [1, -1]}, "input.1", "greater than or equal to 0"),
    ({"input": ["x"] * 2049}, "input", "at most 2048"),
    ({"input": [5, 10**6]}, "input", "not 1000000"),
    ({"input": [[5], [5, 2**31 - 1]]}, "input.1", "not 2147483647"),
    ({"input": "x", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
    ({"input": "x", "dimensions": 10**6}, "dimensions", "not 1000000"),
    ({"input": "x", "dimensions": "seven"}, "dimensions", "integer"),
    ({"input": "x", "encoding_format": "int8"}, "encoding_format", "base64"),
    ({"input": "x", "priority": "high"}, "priority", "urgent"),
    ({"input": "x", "timeout": 0}, "timeout", "greater than 0"),
]


@pytest.mark.parametrize(("body", "param", "words"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input(front: httpx.Client, body: dict[str, Any], param: str, words: str) -> None:
    failure = refusal(front, body)
    assert (failure.status, failure.code, failure.param) == (400, "invalid_request", param)
    assert f"'{param}'" in failure.message
    assert words in failure.message


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "image_url", "image_url": {"url": "data:,"}}, "image_not_supported"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "audio_not_supported"),
        ({"type": "unknown"}, "content_not_supported"),
        ({"type": "text"}, "content_not_supported"),
    ],
)
def test_inputs_that_are_no_text(front: httpx.Client, part: dict[str, Any], code: str) -> None:
    failure = refusal(front, {"input": ["x", {"content": [{"type": "text", "text": "a"}, part]}]})
    assert (failure.status, failure.code) == (400, code)
    assert failure.param == "input.1.content.1"


@pytest.mark.parametrize("given", ["hello " * 3000, "hello " * 300_000, [5] * 2049])
def test_too_long(http: httpx.Client, given: Any) -> None:
    """Found by the worker, or before by the bytes alone."""
    for form in (given, [given]):
        failure = refusal(http, {"input": form})
        assert (failure.status, failure.code) == (400, "context_length_exceeded")
        assert failure.param == "input"


def test_another_model(front: httpx.Client) -> None:
    failure = refusal(front, {"input": "x", "model": "text-embedding-3-small"})
    assert (failure.status, failure.code, failure.param) == (404, "model_not_found", "model")


def test_a_deadline(http: httpx.Client) -> None:
    """Shorter than so many inputs can take."""
    body = {"input": [[5] * 500] * 2048, "timeout": 0.05}
    response = http.post(URL, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


# ------------------------------------------------------------------ models that do only one thing


def test_an_encoder_embeds_and_does_nothing_else(start_server: Start, tmp_path: Path) -> None:
    path = tmp_path / "bert.gguf"
    encoder(path, PoolingType.CLS)
    server = start_server("--workers", "1", "--slots", "4", "--alias", ALIAS, model=path)
    words = ["hello world", "a", "the quick brown fox", "z" * 62]
    with server.client() as http:
        vectors = ask(http, words * 3)
        with reference(path, llama_cpp.LLAMA_POOLING_TYPE_CLS) as direct:
            for text, vector in zip(words * 3, vectors, strict=True):
                assert len(vector) == WIDTH
                assert max(abs(direct.vector(direct.tokens(text)) - vector)) < 1e-2
        for dialect in DIALECTS:
            failure = dialect.refusal(http.post(dialect.path, json=dialect.body()))
            assert (failure.status, failure.code) == (400, "model_not_supported")
            assert failure.param == "model"
            assert "embeds" in failure.message
        too_long = refusal(http, {"input": ["x", "x" * 63]})
        assert (too_long.code, too_long.param) == ("context_length_exceeded", "input.1")
    server.stop()
