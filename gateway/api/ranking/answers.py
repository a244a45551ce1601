"""The answers: scores in the shapes of the dialects. Pure."""

from collections.abc import Sequence
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from gateway.api.ranking.documents import Document, shown

SEARCH = 100
"""Documents of what Cohere's API bills as one search."""


class RankedDocument(TypedDict):
    index: int
    """Place of the document in the request."""
    relevance_score: float
    document: NotRequired[dict[str, Any]]
    """The document itself, with `return_documents`."""


class RankingUsage(TypedDict):
    prompt_tokens: int
    total_tokens: int


class RerankList(TypedDict):
    """Jina's shape, which llama-server and Cohere's first version share."""

    model: str
    object: Literal["list"]
    usage: RankingUsage
    results: list[RankedDocument]
    """The best first."""


class TeiRank(TypedDict):
    """TEI's shape, of requests with `texts`."""

    index: int
    """Place of the text in the request."""
    score: float
    text: NotRequired[str]
    """The text itself, with `return_text`."""


class ApiVersion(TypedDict):
    version: str


class BilledUnits(TypedDict):
    search_units: int


class CohereTokens(TypedDict):
    input_tokens: int


class CohereMeta(TypedDict):
    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: CohereTokens


class CohereRerank(TypedDict):
    id: str
    results: list[RankedDocument]
    """The best first."""
    meta: CohereMeta


class ScoreItem(TypedDict):
    index: int
    """Place of the pair in the request."""
    object: Literal["score"]
    score: float


class ScoreList(TypedDict):
    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[ScoreItem]
    """In the order of the pairs."""
    usage: RankingUsage


def order(scores: Sequence[float], top_n: int | None) -> list[int]:
    """Return the indices of the best scores, the best first; of equal ones the first."""
    return sorted(range(len(scores)), key=lambda at: -scores[at])[:top_n]


def ranked(
    scores: Sequence[float], documents: Sequence[Document], top_n: int | None, *, whole: bool
) -> list[RankedDocument]:
    """Return the results; ``whole``: with the documents."""
    found: list[RankedDocument] = []
    for at in order(scores, top_n):
        item: RankedDocument = {"index": at, "relevance_score": scores[at]}
        if whole:
            item["document"] = shown(documents[at])
        found.append(item)
    return found


def tei(scores: Sequence[float], texts: Sequence[str] | None, top_n: int | None) -> list[TeiRank]:
    """Return the results in TEI's shape, with ``texts`` if they are given."""
    found: list[TeiRank] = []
    for at in order(scores, top_n):
        item: TeiRank = {"index": at, "score": scores[at]}
        if texts is not None:
            item["text"] = texts[at]
        found.append(item)
    return found


def usage(tokens: int) -> RankingUsage:
    """Return the counts of a request: all its tokens are its prompts'."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def cohere_meta(documents: int, tokens: int) -> CohereMeta:
    """Return what Cohere's API tells of a request's cost."""
    return {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": -(-documents // SEARCH)},
        "tokens": {"input_tokens": tokens},
    }
