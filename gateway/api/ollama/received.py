"""A request of the dialect that has been read: its model, its body, and the client's own words."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request

from gateway.api import urgency
from gateway.api.client import client_of
from gateway.api.ollama import names
from gateway.api.ollama.body import OllamaBody
from gateway.api.service import Service
from gateway.core.errors import UnknownModel
from gateway.served.served_model import ServedModel

MOST_SHOWN = 200
"""Characters of a model's name that an error repeats."""

Given = TypeVar("Given", bound=OllamaBody, covariant=True)


@dataclass(frozen=True, slots=True)
class Received(Generic[Given]):
    """A request whose body is valid."""

    request: Request
    served: ServedModel
    given: Given
    name: str
    """The model's name as the client wrote it."""
    size: int
    """Bytes of the body."""

    @property
    def owner(self) -> str:
        """Return the name of the request's key."""
        name: str = self.request.state.key.name
        return name

    @property
    def client(self) -> str:
        """Return the name of the request's client, for which its model stays loaded."""
        return client_of(self.request)

    def check_unqueued(self) -> None:
        """Refuse a wrong priority or timeout of a request that asks nothing.

        It gets no job, whose making refuses them. Raises BadRequest or PriorityNotAllowed.
        """
        options = self.given.chosen()
        urgency.asked_priority(self.request, options.priority)
        urgency.timeout(options.timeout, self.request.headers)


async def receive(service: Service, request: Request, type_: type[Given]) -> Received[Given]:
    """Read a request, with the model's name as the registry knows it. Raises a ForgeError."""
    raw, size = await service.read(request, media=True)
    asked = raw.get("model")
    if isinstance(asked, str):
        raw["model"] = names.own_name(asked, service.registry)
    try:
        served, given = service.parse(request, type_, raw)
    except UnknownModel as error:
        _, _, there_are = error.message.rpartition("; ")
        shown = str(asked)[:MOST_SHOWN]
        message = f"model '{shown}' not found; {there_are}"  # clients look for these words
        raise UnknownModel(message, param=error.param) from None
    name = asked if isinstance(asked, str) else served.name
    return Received(request, served, given, name, size)
