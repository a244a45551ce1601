"""The common base of all objects inside a body."""

from typing import Any, ClassVar

from pydantic import BaseModel, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from gateway.api.body_context import ignored_fields
from gateway.api.field_policy import known_fields, sort
from gateway.core.errors import UnknownParameter, UnsupportedParameter
from gateway.core.strict import STRICT


class Nested(BaseModel):
    """An object inside a body.

    Its unknown fields go by what the table of fields says of its ``place``; ``known`` are those
    that it has, as clients write them. The validation's context says where those are noted that
    are ignored (:mod:`gateway.api.body_context`); without a place they are refused.
    """

    model_config = STRICT

    place: ClassVar[str] = ""
    known: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls.known = known_fields(cls)

    @model_validator(mode="before")
    @classmethod
    def _by_policy(cls, value: Any, info: ValidationInfo) -> Any:
        """Take away what is not known here, so that it is one error at most, or none."""
        if not isinstance(value, dict) or value.keys() <= cls.known:
            return value
        ignored = ignored_fields(info)
        try:
            found = sort(value, cls.known, cls.place, strict=ignored is None)
        except UnsupportedParameter as error:
            message = {"name": error.param, "message": error.message}
            raise PydanticCustomError("refused_field", "{message}", message) from None
        except UnknownParameter as error:
            kept = {name: each for name, each in value.items() if name in cls.known}
            return {**kept, error.param: None}  # one error, which pydantic makes, with its path
        if ignored is not None:
            for name in found.ignored:
                ignored.add_of(value, name)
        return found.kept


def type_of(value: Any) -> Any:
    """Return the ``type`` of an object in JSON or of its model, as discriminators see both."""
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


class Extensible(BaseModel):
    """An object inside a body that may have more fields than Forge knows.

    They are kept as they are in ``model_extra``: the policy for them needs the object's place.
    """

    model_config = {**STRICT, "extra": "allow"}
