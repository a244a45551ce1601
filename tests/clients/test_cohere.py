"""Cohere's package, in both versions of its API."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.rankers import (
    DOCUMENTS,
    OPTIONS,
    QUERY,
    RANK,
    best_first,
    cross_encoder,
    logits,
    sigmoid,
)
from tests.support.server import ALIAS, ForgeServer
from tests.support.vectors import reference

cohere: Any = pytest.importorskip("cohere", reason="cohere is not installed")


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """The connections of a client, which has no way to close its own."""
    with httpx.Client() as made:
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[float]]]:
    """A server that ranks, and the scores that its model gives DOCUMENTS."""
    folder: Path = tmp_path_factory.mktemp("cohere")
    path = cross_encoder(folder / "ranks.gguf")
    with reference(path, RANK) as direct:
        scores = [sigmoid(value) for value in logits(direct, QUERY, DOCUMENTS)]
    with ForgeServer(
        folder, "--workers", "1", "--slots", "4", *OPTIONS, model=path
    ).serving() as server:
        yield server.url, scores


def check(results: list[Any], scores: list[float]) -> None:
    order = best_first(scores)[: len(results)]
    assert [item.index for item in results] == order
    for item in results:
        assert math.isclose(item.relevance_score, scores[item.index], abs_tol=2e-4)


def test_version_2(served: tuple[str, list[float]], http: httpx.Client) -> None:
    url, scores = served
    client = cohere.ClientV2(api_key="any", base_url=url, httpx_client=http)
    answer = client.rerank(model=ALIAS, query=QUERY, documents=DOCUMENTS, top_n=3)
    assert len(answer.results) == 3
    check(answer.results, scores)
    assert answer.id
    assert answer.meta.billed_units.search_units == 1
    assert answer.meta.tokens.input_tokens > 0
    cut = client.rerank(model=ALIAS, query=QUERY, documents=["x" * 5000, "y"], max_tokens_per_doc=9)
    assert len(cut.results) == 2


def test_version_1(served: tuple[str, list[float]], http: httpx.Client) -> None:
    url, scores = served
    client = cohere.Client(api_key="any", base_url=url, httpx_client=http)
    documents: list[Any] = [*DOCUMENTS[:-1], {"text": DOCUMENTS[-1]}]
    answer = client.rerank(
        model=ALIAS, query=QUERY, documents=documents, return_documents=True, max_chunks_per_doc=10
    )
    assert len(answer.results) == len(DOCUMENTS)
    check(answer.results, scores)
    assert [item.document.text for item in answer.results] == [
        DOCUMENTS[item.index] for item in answer.results
    ]


def test_an_error_is_its_own(served: tuple[str, list[float]], http: httpx.Client) -> None:
    client = cohere.ClientV2(api_key="any", base_url=served[0], httpx_client=http)
    with pytest.raises(cohere.NotFoundError) as error:
        client.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)
    assert error.value.body["error"]["code"] == "model_not_found"
