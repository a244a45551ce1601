"""The bodies of the dialects, and the pairs that they ask for."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.api import urgency
from gateway.api.field_table import RERANK, SCORE
from gateway.api.other_names import Names
from gateway.api.ranking.documents import (
    Document,
    Documents,
    FieldNames,
    check_repeated,
    text_of,
)
from gateway.core.errors import BadRequest
from gateway.core.strict import STRICT
from workers.protocol import Ranking, TextPair

COHERE_DOCUMENT = 4096
"""Tokens to which Cohere's API cuts each document, unless it is told how many."""
MAX_TOKENS = 2**31 - 1

ScoreSide = str | dict[str, Any] | Documents


class RankingNames(Names):
    """vLLM's names."""

    use_activation: bool | None = None
    activation: bool | None = None

    def renamed(self) -> Iterator[tuple[str, str, Any]]:
        for name in ("use_activation", "activation"):
            if (value := getattr(self, name)) is not None:
                yield name, "normalize", value


class RerankNames(RankingNames):
    """vLLM's names, and TEI's."""

    raw_scores: bool | None = None
    return_text: bool | None = None

    def renamed(self) -> Iterator[tuple[str, str, Any]]:
        yield from super().renamed()
        if self.raw_scores is not None:
            yield "raw_scores", "normalize", not self.raw_scores
        if self.return_text is not None:
            yield "return_text", "return_documents", self.return_text


class RankingBody(BaseModel):
    """The fields that every dialect has, and Forge's own ``priority`` and ``timeout``."""

    model_config = STRICT

    model: str | None = None
    """The model's id; the first one if none is named."""
    normalize: bool | None = None
    """True: scores between 0 and 1. False: as the model gives them, which llama-server tells.
    Default: true if the model has one class."""
    truncate: bool | None = None
    """True: a document loses its end where it is too long for the model; else that is a 400."""
    truncate_prompt_tokens: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """Tokens to which query and document together are cut; -1: as many as the model takes."""
    priority: urgency.Priority | None = None
    """Larger is more urgent, by number or by name. Default: normal, which is 1."""
    timeout: float | None = Field(None, gt=0, le=urgency.MAX_TIMEOUT_S, allow_inf_nan=False)
    """Seconds that the request may take, waiting included."""

    def ranking(self) -> Ranking:
        """Return what is wanted of each pair. Raises BadRequest."""
        longest = self.truncate_prompt_tokens
        if longest == 0:
            message = "'truncate_prompt_tokens': Input should be -1 or greater than 0"
            raise BadRequest(message, param="truncate_prompt_tokens")
        return Ranking(
            normalize=self.normalize,
            cut=bool(self.truncate) or longest is not None,
            longest_pair=None if longest == -1 else longest,
        )


class RerankBody(RankingBody):
    """The fields of Jina's, Cohere's, llama-server's, vLLM's and TEI's rerankers."""

    place: ClassVar[str] = RERANK

    query: str = Field(min_length=1)
    """The question that the documents should answer."""
    documents: Documents | None = None
    """Texts, or objects with a `text`."""
    texts: Documents | None = None
    """TEI's name of `documents`; the answer has its shape then."""
    top_n: int | None = Field(None, ge=1, le=MAX_TOKENS)
    """Number of the best ones to tell. Default: all."""
    return_documents: bool | None = None
    """True: the answer repeats the documents."""
    max_tokens_per_doc: int | None = Field(None, ge=1, le=MAX_TOKENS)
    """Tokens to which each document is cut."""
    rank_fields: FieldNames | None = None
    """The fields of documents that are objects, in their order. Default: `text`."""

    others: SkipJsonSchema[RerankNames | None] = None
    others_type: ClassVar[type[Names]] = RerankNames

    def given(self) -> tuple[str, Sequence[Document]]:
        """Return the documents and the field they came in. Raises BadRequest."""
        if self.texts is not None and self.documents is not None:
            raise BadRequest("'texts' and 'documents' are one field: send one", param="texts")
        if self.texts is not None:
            return "texts", self.texts
        if self.documents is None:
            raise BadRequest("'documents' is required", param="documents")
        return "documents", self.documents

    def pairs(self) -> tuple[TextPair, ...]:
        """Return a pair for each document. Raises BadRequest."""
        name, documents = self.given()
        check_repeated(self.query, len(documents), "query")
        return tuple(
            TextPair(self.query, text_of(each, param, self.rank_fields), "query", param)
            for param, each in ((f"{name}.{at}", each) for at, each in enumerate(documents))
        )

    def ranking(self) -> Ranking:
        found = super().ranking()
        return Ranking(found.normalize, found.cut, self.max_tokens_per_doc, found.longest_pair)


class CohereRerankBody(RerankBody):
    """The same in version 2 of Cohere's API, which cuts documents unless it is told otherwise."""

    def ranking(self) -> Ranking:
        found = super().ranking()
        cut = found.cut or self.truncate is not False
        return Ranking(
            found.normalize, cut, found.longest_document or COHERE_DOCUMENT, found.longest_pair
        )


class ScoreBody(RankingBody):
    """The fields of vLLM's scores: two sides, of which one or both are lists."""

    place: ClassVar[str] = SCORE

    text_1: ScoreSide | None = None
    """A query, or one for each document."""
    text_2: ScoreSide | None = None
    """A document or several."""
    queries: ScoreSide | None = None
    """Another name of `text_1`."""
    documents: ScoreSide | None = None
    """Another name of `text_2`."""
    data_1: ScoreSide | None = None
    """Another name of `text_1`."""
    data_2: ScoreSide | None = None
    """Another name of `text_2`."""
    items: ScoreSide | None = None
    """Another name of `text_2`."""

    others: SkipJsonSchema[RankingNames | None] = None
    others_type: ClassVar[type[Names]] = RankingNames

    def pairs(self) -> tuple[TextPair, ...]:
        """Return the pairs: each query with its document, or one with all. Raises BadRequest."""
        queries = self._side(("text_1", "queries", "data_1"))
        documents = self._side(("text_2", "documents", "data_2", "items"))
        if len(queries) == 1:
            place, query = queries[0]
            check_repeated(query, len(documents), place)
            queries *= len(documents)
        if len(queries) != len(documents):
            name = documents[0][0].partition(".")[0]
            message = f"'{name}': there are {len(queries)} queries and {len(documents)} documents"
            raise BadRequest(f"{message}; one query goes with any number", param=name)
        return tuple(
            TextPair(query, document, of_query, of_document)
            for (of_query, query), (of_document, document) in zip(queries, documents, strict=True)
        )

    def _side(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the texts of a side, each after its place in the body. Raises BadRequest."""
        given = [name for name in names if getattr(self, name) is not None]
        if not given:
            raise BadRequest(f"'{names[0]}' is required", param=names[0])
        if len(given) > 1:
            message = f"'{given[1]}' is another name of '{given[0]}': send one"
            raise BadRequest(message, param=given[1])
        value = getattr(self, given[0])
        if isinstance(value, list):
            places = [f"{given[0]}.{at}" for at in range(len(value))]
            return [
                (place, text_of(each, place)) for place, each in zip(places, value, strict=True)
            ]
        return [(given[0], text_of(value, given[0]))]
