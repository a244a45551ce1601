"""The bodies of requests about models. Clients name a model under "model", older ones "name"."""

from typing import ClassVar

from pydantic import BaseModel

from gateway.core.errors import BadRequest
from gateway.core.strict import STRICT


class OllamaNamedBody(BaseModel):
    """A body that names a model."""

    model_config = STRICT
    open_ended: ClassVar[bool] = True  # clients send fields of their own

    model: str | None = None
    """The model's name."""
    name: str | None = None
    """The same, as older clients have it."""

    def asked(self) -> str:
        """Return the name. Raises BadRequest if there is none."""
        found = self.model or self.name
        if not found:
            raise BadRequest("'model' is required", param="model")
        return found


class ShowBody(OllamaNamedBody):
    verbose: bool | None = None
    """True: with the whole vocabulary and the list of tensors."""


class PullBody(OllamaNamedBody):
    stream: bool | None = None
    """False: one answer at the end. Default true: a line whenever there is news."""
    insecure: bool | None = None
    """Ignored: models come over https."""


class DeleteBody(OllamaNamedBody):
    pass


class CopyBody(BaseModel):
    model_config = STRICT
    open_ended: ClassVar[bool] = True

    source: str
    """The model's name."""
    destination: str
    """The other name that it gets."""
