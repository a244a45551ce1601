"""Bodies of ranking that are small and ask for much."""

from typing import Any

import orjson
import pytest

from gateway.api import body
from gateway.api.ranking import answers, documents
from gateway.api.ranking.bodies import CohereRerankBody, RerankBody, ScoreBody
from gateway.conversation import MAX_DEPTH
from gateway.core.errors import BadRequest


def nested(levels: int) -> Any:
    """Lists in a list, such as documents may hold beside their text."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("type_", [RerankBody, CohereRerankBody])
def test_documents_are_told_only_if_they_can_be_written(type_: type[RerankBody]) -> None:
    raw = {"query": "q", "documents": [{"text": "x", "more": nested(MAX_DEPTH - 2)}]}
    given = body.parse(type_, raw)
    assert len(given.pairs()) == 1
    assert orjson.dumps(answers.ranked([0.5], given.given()[1], None, whole=True))
    raw = {"query": "q", "documents": ["a", {"text": "x", "more": nested(MAX_DEPTH + 1)}]}
    with pytest.raises(BadRequest, match="levels deep") as error:
        body.parse(type_, raw).pairs()
    assert error.value.param == "documents.1"


def test_a_field_counts_once_however_often_it_is_named() -> None:
    raw = {"query": "q", "documents": [{"a": "x", "b": 2}], "rank_fields": ["b", "a", "b", "a"]}
    (pair,) = body.parse(RerankBody, raw).pairs()
    assert pair.document == "b: 2\na: x"


def test_one_query_of_parts_is_put_together_once() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    raw = {"text_1": {"content": parts}, "text_2": ["a", "b", "c"]}
    pairs = body.parse(ScoreBody, raw).pairs()
    assert pairs[0].query == "one\ntwo"
    assert all(pair.query is pairs[0].query for pair in pairs)


@pytest.mark.parametrize(
    ("type_", "query", "texts"),
    [
        (RerankBody, "query", "documents"),
        (RerankBody, "query", "texts"),
        (CohereRerankBody, "query", "documents"),
        (ScoreBody, "text_1", "text_2"),
        (ScoreBody, "queries", "items"),
    ],
)
def test_a_long_query_with_many_documents(
    monkeypatch: pytest.MonkeyPatch,
    type_: type[RerankBody | ScoreBody],
    query: str,
    texts: str,
) -> None:
    """Each document's pair holds it again."""
    monkeypatch.setattr(documents, "MOST_REPEATED", 100)
    assert len(body.parse(type_, {query: "q" * 25, texts: ["d"] * 4}).pairs()) == 4
    with pytest.raises(BadRequest, match="beside 5 documents it may have 20 characters") as error:
        body.parse(type_, {query: "q" * 25, texts: ["d"] * 5}).pairs()
    assert error.value.param == query
