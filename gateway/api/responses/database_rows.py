"""Responses and items as the rows of a database have them."""

from collections.abc import Iterable

import orjson

from gateway.api.responses.archive import KeptResponse, MadeResponse
from gateway.api.responses.event_log import frame
from gateway.api.responses.history import Item
from gateway.api.responses.types import ResponseEvent, ResponseObject, Status
from gateway.stored.object_rows import ItemRow

LONGEST_ID = 64
MOST_EVENTS = 2**53
STOPPED = "The server stopped while it was at work on this response."


def may_be(id_: str) -> bool:
    """Return whether a client's text could be an id: PostgreSQL refuses some characters."""
    return len(id_) <= LONGEST_ID and id_.isascii() and id_.isprintable()


def key(item_id: str) -> bytes:
    """Return the id of an item as the database has it."""
    return item_id.encode("utf-8", "surrogatepass")


def written(items: Iterable[Item]) -> list[ItemRow]:
    """Return items for the database; one of a known id takes the older one's place."""
    found: dict[bytes, bytes] = {}
    for item in items:
        found.pop(key(item["id"]), None)
        found[key(item["id"])] = orjson.dumps(item)
    return [*found.items()]


def read(found: Iterable[ItemRow]) -> list[Item]:
    """Return items out of the database."""
    return [orjson.loads(json) for _, json in found]


def output(made: MadeResponse) -> list[Item]:
    """Return the items that a response has made so far."""
    return [dict(item) for item in made.response["output"]]


def told(made: MadeResponse) -> KeptResponse:
    """Return a response that is at work here, as it is now."""
    return KeptResponse(made.id, orjson.dumps(made.response), made.log is not None)


def ended(body: bytes, status: Status) -> bytes:
    """Return a response that its server has not brought to its end, with an end."""
    response: ResponseObject = orjson.loads(body)
    response["status"] = status
    response.pop("queue", None)
    if status == "failed":
        response["error"] = {"code": "server_error", "message": STOPPED}
    return orjson.dumps(response)


def last_events(body: bytes, after: int) -> bytes:
    """Return the end of a response whose events are lost, for a reader of those up to ``after``."""
    response: ResponseObject = orjson.loads(body)
    begun: ResponseObject = {**response, "status": "queued", "error": None}
    status = response["status"]
    kind = "response.incomplete" if status == "cancelled" else f"response.{status}"
    number = min(after, MOST_EVENTS) + 1
    events: list[ResponseEvent] = []
    if number == 0:
        events = [{"type": "response.created", "sequence_number": 0, "response": begun}]
        number = 1
    events.append({"type": kind, "sequence_number": number, "response": response})
    return b"".join(map(frame, events))
