"""The fields of forms and bodies about files and uploads."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.api.nested import Nested
from gateway.core.errors import BadRequest

PURPOSES = ("batch", "user_data", "vision")
ELSEWHERE = ("assistants", "fine-tune", "evals")
"""Purposes at OpenAI that nothing here serves."""
BATCH_AGE_S = 30 * 86400
"""Seconds that a batch's file is kept if nothing else is said, as at OpenAI."""
MOST_IDS = 10_000


def _purpose(value: Any) -> Any:
    if value in ELSEWHERE:
        raise ValueError(f"{value!r} is not served here; 'batch', 'user_data' and 'vision' are")
    return value


def _number(value: Any) -> Any:
    """Take a number from a form, which has texts alone."""
    whole = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10
    return int(value) if whole else value


Purpose = Annotated[Literal["batch", "user_data", "vision"], BeforeValidator(_purpose)]
Age = Annotated[int, Field(ge=3600, le=30 * 86400), BeforeValidator(_number)]
Content = Annotated[str, WithJsonSchema({"type": "string", "format": "binary"})]


class ExpiresAfter(Nested):
    """The time after which a file is deleted."""

    anchor: Literal["created_at"]
    """The moment from which on it counts."""
    seconds: Age
    """The time after it: an hour to thirty days."""


class FileForm(Nested):
    """POST /v1/files."""

    file: Content
    """The file; it may come before the other fields or behind them."""
    purpose: Purpose
    """The use of the file: a batch's requests, a picture, or anything."""
    expires_after: ExpiresAfter | None = None
    """Default: thirty days after its creation for a batch's file, never for others. In a form:
    `expires_after[anchor]` and `expires_after[seconds]`."""


class UploadBody(Nested):
    """POST /v1/uploads."""

    filename: Annotated[str, Field(max_length=4096)]
    """The name of the file."""
    purpose: Purpose
    """The use of the file: a batch's requests, or anything."""
    bytes: Annotated[int, Field(ge=0)]
    """The size of the whole."""
    mime_type: Annotated[str, Field(max_length=256)]
    """Accepted: files are bytes here."""
    expires_after: ExpiresAfter | None = None
    """Default: thirty days after its creation for a batch's file, never for others."""


class PartForm(Nested):
    """POST /v1/uploads/{upload_id}/parts."""

    data: Content
    """The part's bytes, 64 MiB at most."""


class CompleteBody(Nested):
    """POST /v1/uploads/{upload_id}/complete."""

    part_ids: Annotated[list[str], Field(max_length=MOST_IDS, fail_fast=True)]
    """The parts in the order of the file."""
    md5: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None
    """The whole file's, in hexadecimal; if it differs, nothing is made."""


def file_age(purpose: str, expires_after: ExpiresAfter | None) -> int | None:
    """Return the seconds that a file is to live; None: until it is deleted."""
    if expires_after is not None:
        return expires_after.seconds
    return BATCH_AGE_S if purpose == "batch" else None


def check_purpose(value: str) -> None:
    """Raises BadRequest, before the whole file has come."""
    if value not in PURPOSES:
        *others, last = (f"'{each}'" for each in PURPOSES)
        known = f"{', '.join(others)} and {last}"
        raise BadRequest(
            f"'purpose': {value[:40]!r} is not served here; {known} are", param="purpose"
        )
