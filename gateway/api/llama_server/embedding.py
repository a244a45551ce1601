"""POST /embedding: llama-server's older form of embeddings, a bare list."""

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.embedding_inputs import RawInputs, prompts
from gateway.api.embeddings import EmbeddingBody, embedded
from gateway.api.endpoint import CONVERSATION, JSON, WORK, Body, Endpoint
from gateway.api.llama_server.endpoints import GROUP
from gateway.api.llama_server.types import LlamaError, RawEmbedding
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.core.errors import BadRequest, ModelNotSupported, UnknownModel
from workers.protocol import Prompt


class RawEmbeddingBody(EmbeddingBody):
    input: RawInputs | None = None  # type: ignore[assignment]
    """Another name of `content`."""
    content: RawInputs | None = Field(None)
    """One text or several, lists of token ids, or both in turn; also `{"prompt_string": ...}`."""

    def prompts(self) -> tuple[Prompt, ...]:
        given = self.content if self.input is None else self.input
        if given is None:
            raise BadRequest("'content' is required", param="content")
        return prompts(given, empty=True)


class LlamaEmbedding:
    """The endpoint."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path="/embedding",
                handler=self.embed,
                method="POST",
                group=GROUP,
                body=Body(type=RawEmbeddingBody, example={"content": "what is 2+2?"}),
                answers={JSON: list[RawEmbedding]},
                failure=LlamaError,
                fails=(*WORK, *CONVERSATION, ModelNotSupported, UnknownModel),
                queued="yes",
            )
        ]

    async def embed(self, request: Request) -> Response:
        """Return the meaning of texts as vectors, in llama-server's older form."""
        _, _, data = await embedded(self._service, request, RawEmbeddingBody, _item)
        return json_response(data)


def _item(index: int, vector: list[float] | str) -> RawEmbedding:
    return {"index": index, "embedding": [vector]}
