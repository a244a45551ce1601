"""The common base of all objects inside a body."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

MAX_FIELDS = 64
"""Most fields of an object inside a body."""


class Nested(BaseModel):
    """An object inside a body."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few(cls, value: Any) -> Any:
        """Each unknown field would become an error of its own, and a body has room for many."""
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            message = f"an object may have {MAX_FIELDS} fields at most"
            raise PydanticCustomError("too_many_fields", message)
        return value


class Extensible(BaseModel):
    """An object inside a body that may have more fields than Forge knows.

    They are kept as they are in ``model_extra``: the policy for them needs the object's place.
    """

    model_config = ConfigDict(strict=True, extra="allow")
