"""The documents of a request: texts, or objects that hold one. Pure."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from gateway.api.openai.parts import MEDIA
from gateway.conversation import MAX_DEPTH, deeper
from gateway.core.errors import BadRequest, ContentNotSupported

MAX_DOCUMENTS = 2048
"""Most documents of one request, as of inputs to embed."""
MAX_FIELDS = 64
"""Most names in `rank_fields`."""
MOST_REPEATED = 1 << 27
"""Most characters of a query, counted once for each of its documents: so often it is read."""

Document = str | dict[str, Any]
Documents = Annotated[list[Document], Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True)]
FieldNames = Annotated[list[str], Field(min_length=1, max_length=MAX_FIELDS, fail_fast=True)]


def text_of(document: Document, param: str, fields: Sequence[str] | None = None) -> str:
    """Return the text of a document, which the request has at ``param``.

    An object has a `text`, or `content` in parts, or the ``fields`` that Cohere's clients choose.
    Raises BadRequest.
    """
    if isinstance(document, str):
        return document
    if deeper(document, MAX_DEPTH):
        message = f"'{param}': it may be nested {MAX_DEPTH} levels deep at most"
        raise BadRequest(message, param=param)
    if fields is not None:
        found = ((name, document[name]) for name in dict.fromkeys(fields) if name in document)
        lines = [f"{name}: {_plain(value, f'{param}.{name}')}" for name, value in found]
        if not lines:
            raise BadRequest(f"'{param}': it has none of the 'rank_fields'", param=param)
        return "\n".join(lines)
    if "text" in document:
        return _plain(document["text"], f"{param}.text")
    if "content" in document:
        return _content(document["content"], f"{param}.content")
    for name, error in MEDIA.items():
        if name in document:
            raise _media(error, param)
    message = f"'{param}': a document is a string or an object with 'text'"
    raise BadRequest(message, param=param)


def check_repeated(query: str, documents: int, param: str) -> None:
    """Raise BadRequest about a query that is too long for so many documents."""
    longest = MOST_REPEATED // documents
    if len(query) > longest:
        message = f"'{param}': beside {documents} documents it may have {longest} characters"
        raise BadRequest(f"{message}, not {len(query)}", param=param)


def shown(document: Document) -> dict[str, Any]:
    """Return a document as answers show it."""
    return {"text": document} if isinstance(document, str) else document


def _plain(value: Any, param: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    raise BadRequest(f"'{param}': Input should be a string or a number", param=param)


def _content(value: Any, param: str) -> str:
    """Return the text of vLLM's content: a string or parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise BadRequest(f"'{param}': Input should be a string or a list of parts", param=param)
    return "\n".join(_part(part, f"{param}.{at}") for at, part in enumerate(value))


def _part(part: Any, param: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(kind, str) and kind in MEDIA:
        raise _media(MEDIA[kind], param)
    raise BadRequest(f"'{param}': Input should be a part with 'type' text", param=param)


def _media(error: type[ContentNotSupported], param: str) -> ContentNotSupported:
    return error(f"'{param}': only texts are ranked, no {error.things}", param=param)
