"""Ranking over real sockets, in the shapes of all dialects; scores are llama.cpp's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.dialects import CHAT, DIALECTS, Failure
from tests.support.encoder import CONTEXT
from tests.support.rankers import (
    DOCUMENTS,
    OPTIONS,
    QUERY,
    RANK,
    best_first,
    cross_encoder,
    logits,
    pair,
    sigmoid,
)
from tests.support.server import ALIAS, DEADLINE_S, ForgeServer, eventually
from tests.support.vectors import Reference, reference

NEAR = 2e-4
RERANK = {"query": QUERY, "documents": DOCUMENTS}
PATHS = ["/v1/rerank", "/rerank", "/v1/reranking", "/reranking"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("ranking") / "ranks.gguf")


@pytest.fixture(scope="module")
def ranking(model: Path) -> Iterator[ForgeServer]:
    with ForgeServer(
        model.parent, "--workers", "1", "--slots", "4", *OPTIONS, model=model
    ).serving() as server:
        yield server


@pytest.fixture(scope="module")
def ranks(ranking: ForgeServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ranking.url, timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture(scope="module")
def direct(model: Path) -> Iterator[Reference]:
    with reference(model, RANK) as made:
        yield made


@pytest.fixture(scope="module")
def raw(direct: Reference) -> list[float]:
    return logits(direct, QUERY, DOCUMENTS)


def post(client: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> Any:
    response = client.post(path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(client: httpx.Client, path: str, body: dict[str, Any]) -> Failure:
    return CHAT.refusal(client.post(path, json=body))


def close(found: list[float], expected: list[float], near: float = NEAR) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(abs(one - other) < near for one, other in pairs)


# ------------------------------------------------------------------ shapes


@pytest.mark.parametrize("path", PATHS)
def test_jina_and_llama_server(
    ranks: httpx.Client, direct: Reference, raw: list[float], path: str
) -> None:
    """The best first, between 0 and 1; no key more than llama-server's."""
    body = post(ranks, path, {**RERANK, "model": ALIAS})
    assert body.keys() == {"model", "object", "usage", "results"}
    assert (body["model"], body["object"]) == (ALIAS, "list")
    assert all(item.keys() == {"index", "relevance_score"} for item in body["results"])
    order = best_first(raw)
    assert [item["index"] for item in body["results"]] == order
    scores = [item["relevance_score"] for item in body["results"]]
    assert close(scores, [sigmoid(raw[at]) for at in order])
    tokens = sum(len(pair(direct, QUERY, each)) for each in DOCUMENTS)
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_raw_scores(ranks: httpx.Client, raw: list[float]) -> None:
    """As llama-server tells them."""
    body = post(ranks, "/rerank", {**RERANK, "normalize": False})
    scores = {item["index"]: item["relevance_score"] for item in body["results"]}
    assert close([scores[at] for at in range(len(DOCUMENTS))], raw)
    assert max(raw) - min(raw) > 0.1


def test_the_best_with_their_documents(ranks: httpx.Client, raw: list[float]) -> None:
    objects = [{"text": text, "id": at} for at, text in enumerate(DOCUMENTS)]
    for documents, shown in ((DOCUMENTS, [{"text": t} for t in DOCUMENTS]), (objects, objects)):
        given = {"query": QUERY, "documents": documents, "top_n": 2, "return_documents": True}
        results = post(ranks, "/v1/rerank", given)["results"]
        assert [item["index"] for item in results] == best_first(raw)[:2]
        assert [item["document"] for item in results] == [shown[at["index"]] for at in results]
    many = post(ranks, "/v1/rerank", {**RERANK, "top_n": 99})["results"]
    assert len(many) == len(DOCUMENTS)


def test_tei(ranks: httpx.Client, raw: list[float]) -> None:
    """A body with `texts` is answered with a bare list."""
    body = {"query": QUERY, "texts": DOCUMENTS}
    found = post(ranks, "/rerank", {**body, "raw_scores": False})
    assert all(item.keys() == {"index", "score"} for item in found)
    assert [item["index"] for item in found] == best_first(raw)
    assert close([item["score"] for item in found], [sigmoid(raw[at]) for at in best_first(raw)])
    (best,) = post(ranks, "/rerank", {**body, "raw_scores": True, "return_text": True, "top_n": 1})
    assert best["text"] == DOCUMENTS[best["index"]]
    assert abs(best["score"] - max(raw)) < NEAR


def test_cohere(ranks: httpx.Client, direct: Reference, raw: list[float]) -> None:
    body = post(ranks, "/v2/rerank", {**RERANK, "model": ALIAS, "top_n": 3})
    assert body.keys() == {"id", "results", "meta"}
    assert [item["index"] for item in body["results"]] == best_first(raw)[:3]
    tokens = sum(len(pair(direct, QUERY, each)) for each in DOCUMENTS)
    assert body["meta"] == {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": tokens},
    }


def test_cohere_s_fields_of_documents(ranks: httpx.Client, direct: Reference) -> None:
    """They are read as lines with the fields' names."""
    documents = [{"title": "air", "year": 7}, {"title": "sea", "year": 8, "more": "x"}]
    body = {"query": QUERY, "documents": documents, "normalize": False}
    results = post(ranks, "/v1/rerank", {**body, "rank_fields": ["title", "year"]})["results"]
    expected = logits(direct, QUERY, ["title: air\nyear: 7", "title: sea\nyear: 8"])
    assert close(
        [score for _, score in sorted((r["index"], r["relevance_score"]) for r in results)],
        expected,
    )
    failure = refusal(ranks, "/v1/rerank", {**body, "rank_fields": ["no"]})
    assert (failure.status, failure.param) == (400, "documents.0")


VLLM = [
    ({"text_1": QUERY, "text_2": DOCUMENTS}, "one with all"),
    ({"queries": [QUERY], "documents": DOCUMENTS}, "one in a list"),
    ({"data_1": [QUERY] * len(DOCUMENTS), "data_2": DOCUMENTS}, "each with its own"),
    ({"queries": QUERY, "items": [{"text": text} for text in DOCUMENTS]}, "objects"),
    (
        {
            "text_1": QUERY,
            "text_2": [{"content": [{"type": "text", "text": text}]} for text in DOCUMENTS],
        },
        "parts",
    ),
]


@pytest.mark.parametrize(("body", "_"), VLLM, ids=[name for _, name in VLLM])
def test_vllm_s_scores(ranks: httpx.Client, raw: list[float], body: dict[str, Any], _: str) -> None:
    """In the order of the pairs."""
    found = post(ranks, "/score", {**body, "model": ALIAS})
    assert found.keys() == {"id", "object", "created", "model", "data", "usage"}
    assert found["id"].startswith("score-")
    assert all(item.keys() == {"index", "object", "score"} for item in found["data"])
    assert [item["index"] for item in found["data"]] == list(range(len(raw)))
    assert close([item["score"] for item in found["data"]], list(map(sigmoid, raw)))
    plain = post(ranks, "/v1/score", {**body, "use_activation": False})
    assert close([item["score"] for item in plain["data"]], raw)


def test_one_pair(ranks: httpx.Client, raw: list[float]) -> None:
    (item,) = post(ranks, "/score", {"text_1": QUERY, "text_2": DOCUMENTS[0]})["data"]
    assert abs(item["score"] - sigmoid(raw[0])) < NEAR


# ------------------------------------------------------------------ how it is served


def test_many_documents(ranks: httpx.Client, direct: Reference) -> None:
    """Far more than slots; each gets its own score, and equal ones stay in order."""
    documents = [f"{at % 50}" for at in range(2048)]
    results = post(ranks, "/rerank", {"query": "x", "documents": documents, "normalize": False})
    kinds = logits(direct, "x", documents[:50])
    scores = [(item["relevance_score"], item["index"]) for item in results["results"]]
    # Of so many some meet the next entry of GGML's table of GELU in a batch of another width.
    assert close([score for score, _ in scores], [kinds[at % 50] for _, at in scores], 2e-3)
    assert [score for score, _ in scores] == sorted((s for s, _ in scores), reverse=True)


def test_headers(ranks: httpx.Client) -> None:
    response = ranks.post("/v1/rerank", json=RERANK, headers={"X-Priority": "urgent"})
    assert response.headers["x-priority"] == "2"
    assert "x-seed" not in response.headers, "nothing is drawn"
    body = {**RERANK, "priority": "batch", "colour": 1, "user": "x", "max_chunks_per_doc": 3}
    response = ranks.post("/v1/rerank", json=body)
    assert response.headers["x-priority"] == "0"
    assert response.headers["x-ignored-parameters"] == "colour, max_chunks_per_doc"


def test_a_deadline(ranks: httpx.Client) -> None:
    body = {"query": "q" * 30, "documents": ["d" * 30] * 2048, "timeout": 0.02}
    response = ranks.post("/rerank", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_cut_or_refused(ranks: httpx.Client, direct: Reference) -> None:
    """A pair that is too long is a 400 with its place, unless it may be cut."""
    documents = ["short", "long" * CONTEXT]
    body = {"query": QUERY, "documents": documents}
    failure = refusal(ranks, "/v1/rerank", body)
    assert (failure.status, failure.code) == (400, "context_length_exceeded")
    assert failure.param == "documents.1"
    tei = refusal(ranks, "/rerank", {"query": QUERY, "texts": documents, "truncate": False})
    assert tei.param == "texts.1"
    assert refusal(ranks, "/v2/rerank", {**body, "truncate": False}).param == "documents.1"
    sides = {"text_1": QUERY, "text_2": documents}
    assert refusal(ranks, "/score", sides).param == "text_2.1"
    room = CONTEXT - len(pair(direct, QUERY, ""))
    full = len(pair(direct, QUERY, "short")) + CONTEXT
    for path, given, tokens in (
        ("/v1/rerank", {**body, "truncate": True}, full),
        ("/v1/rerank", {**body, "max_tokens_per_doc": 7}, full - room + 7),
        ("/v1/rerank", {**body, "truncate_prompt_tokens": -1}, full),
        ("/score", {**sides, "truncate_prompt_tokens": 40}, full - CONTEXT + 40),
    ):
        assert post(ranks, path, given)["usage"]["total_tokens"] == tokens, given
    assert post(ranks, "/v2/rerank", body)["meta"]["tokens"]["input_tokens"] == full
    alone = refusal(ranks, "/v2/rerank", {**body, "query": "q" * CONTEXT})
    assert (alone.code, alone.param) == ("context_length_exceeded", "query")


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/rerank", {"documents": ["x"]}, "query"),
    ("/rerank", {"query": "", "documents": ["x"]}, "query"),
    ("/rerank", {"query": ["x"], "documents": ["x"]}, "query"),
    ("/rerank", {"query": "x"}, "documents"),
    ("/rerank", {"query": "x", "documents": None}, "documents"),
    ("/rerank", {"query": "x", "documents": []}, "documents"),
    ("/rerank", {"query": "x", "documents": 123}, "documents"),
    ("/rerank", {"query": "x", "documents": "x"}, "documents"),
    ("/rerank", {"query": "x", "documents": ["x", 1]}, "documents.1"),
    ("/rerank", {"query": "x", "documents": ["x", {}]}, "documents.1"),
    ("/rerank", {"query": "x", "documents": [{"text": None}]}, "documents.0.text"),
    ("/rerank", {"query": "x", "documents": [{"content": [1]}]}, "documents.0.content.0"),
    ("/rerank", {"query": "x", "documents": ["x"] * 2049}, "documents"),
    ("/rerank", {"query": "x", "documents": ["x"], "texts": ["x"]}, "texts"),
    ("/rerank", {"query": "x", "documents": ["x"], "top_n": 0}, "top_n"),
    ("/rerank", {"query": "x", "documents": ["x"], "max_tokens_per_doc": 0}, "max_tokens_per_doc"),
    (
        "/rerank",
        {"query": "x", "documents": ["x"], "truncate_prompt_tokens": 0},
        "truncate_prompt_tokens",
    ),
    ("/rerank", {"query": "x", "documents": ["x"], "rank_fields": []}, "rank_fields"),
    (
        "/rerank",
        {"query": "x", "texts": ["x"], "raw_scores": True, "normalize": True},
        "raw_scores",
    ),
    ("/v2/rerank", {"query": "x", "documents": ["x"], "timeout": 0}, "timeout"),
    ("/score", {"text_2": "x"}, "text_1"),
    ("/score", {"text_1": "x"}, "text_2"),
    ("/score", {"text_1": ["x", "y"], "text_2": ["x"]}, "text_2"),
    ("/score", {"text_1": ["x", "y"], "documents": ["x"]}, "documents"),
    ("/score", {"text_1": "x", "text_2": "y", "items": ["z"]}, "items"),
    ("/score", {"text_1": [], "text_2": "y"}, "text_1"),
]


@pytest.mark.parametrize(("path", "body", "param"), BAD, ids=lambda value: str(value)[:60])
def test_bad_input(front: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    failure = refusal(front, path, body)
    assert (failure.status, failure.code, failure.param) == (400, "invalid_request", param)
    assert f"'{param}'" in failure.message


def test_what_is_no_text(front: httpx.Client) -> None:
    for document, param in (
        ({"image": "http://x"}, "documents.0"),
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "documents.0.content.0"),
    ):
        failure = refusal(front, "/rerank", {"query": "x", "documents": [document]})
        assert (failure.status, failure.code) == (400, "image_not_supported")
        assert failure.param == param


def test_what_is_refused(front: httpx.Client) -> None:
    failure = refusal(front, "/rerank", {**RERANK, "truncation_direction": "Left"})
    assert (failure.code, failure.param) == ("unsupported_parameter", "truncation_direction")


# ------------------------------------------------------------------ what a model can do


@pytest.mark.parametrize("path", ["/rerank", "/v2/rerank"])
def test_a_model_that_chats_does_not_rank(front: httpx.Client, path: str) -> None:
    failure = refusal(front, path, RERANK)
    assert (failure.status, failure.code) == (400, "model_not_supported")
    assert failure.param == "model"
    assert failure.message == f"'{ALIAS}' generates text and does not rank"


def test_a_model_that_ranks_does_nothing_else(ranks: httpx.Client) -> None:
    for dialect in DIALECTS:
        failure = dialect.refusal(ranks.post(dialect.path, json=dialect.body()))
        assert (failure.status, failure.code) == (400, "model_not_supported")
        assert failure.param == "model"
        assert "ranks texts and does not generate text" in failure.message
    failure = refusal(ranks, "/v1/embeddings", {"input": "x"})
    assert (failure.code, failure.param) == ("model_not_supported", "model")
    assert "gives no embeddings" in failure.message


SENSELESS = {"sees": False, "hears": False}


def test_what_a_model_can_do_is_told(ranks: httpx.Client, answering: httpx.Client) -> None:
    for client, can in (
        (ranks, {"generates": False, "embeds": False, "ranks": True, **SENSELESS}),
        (answering, {"generates": True, "embeds": True, "ranks": False, **SENSELESS}),
    ):
        (card,) = client.get("/v1/models").json()["data"]
        assert card["meta"]["abilities"] == can
        assert client.get("/props").json()["abilities"] == can
    (card,) = ranks.get("/v1/models").json()["data"]
    assert card["meta"]["n_ctx"] == CONTEXT


def test_another_model(front: httpx.Client) -> None:
    failure = refusal(front, "/rerank", {**RERANK, "model": "rerank-v3.5"})
    assert (failure.status, failure.code, failure.param) == (404, "model_not_found", "model")


def test_tokens_are_counted(ranks: httpx.Client) -> None:
    """In the metrics, as prompts that were computed and not looked up."""

    names = ("prompt", "generation", "prefix_cache_queried")
    starts = [f"forge_{name}_tokens_total" for name in names]

    def read() -> list[float]:
        lines = ranks.get("/metrics", headers={"Accept": "text/plain"}).text.splitlines()
        return [
            sum(float(line.split()[-1]) for line in lines if line.startswith(start))
            for start in starts
        ]

    before = read()
    tokens = post(ranks, "/rerank", RERANK)["usage"]["total_tokens"]
    eventually(lambda: read() == [before[0] + tokens, *before[1:]], "the tokens are counted")
