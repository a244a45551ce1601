"""The facts that the validation of a body needs beside the body itself."""

from dataclasses import dataclass

from pydantic import ValidationInfo

from gateway.api.field_policy import IgnoredFields
from gateway.conversation import BLIND, Senses


@dataclass(frozen=True, slots=True)
class BodyContext:
    """The context of a validation."""

    ignored: IgnoredFields | None
    """Gets the names of fields that are ignored; None: they are refused."""
    senses: Senses = BLIND
    """The media that the model takes which the body names."""


def ignored_fields(info: ValidationInfo) -> IgnoredFields | None:
    """Return the place for names of ignored fields; None: they are refused."""
    context: BodyContext | None = info.context
    return None if context is None else context.ignored


def senses(info: ValidationInfo) -> Senses:
    """Return the media that the model takes."""
    context: BodyContext | None = info.context
    return BLIND if context is None else context.senses
