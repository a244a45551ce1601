"""The shapes of answers about files and uploads."""

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from gateway.stored.files import StoredFile
    from gateway.stored.uploads import StoredPart, StoredUpload


class FileObject(TypedDict):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    """Unix seconds."""
    expires_at: int | None
    """Unix seconds; null: it stays until it is deleted."""
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None


class FileList(TypedDict):
    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(TypedDict):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


class UploadObject(TypedDict):
    id: str
    object: Literal["upload"]
    bytes: int
    """Announced for the whole file."""
    created_at: int
    expires_at: int
    """Unix seconds, after which no more parts are taken."""
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None
    """The file, once the upload is completed."""


class PartObject(TypedDict):
    id: str
    object: Literal["upload.part"]
    created_at: int
    upload_id: str


def file_object(file: "StoredFile") -> FileObject:
    """Return a file as clients see it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def upload_object(upload: "StoredUpload", file: "StoredFile | None" = None) -> UploadObject:
    """Return an upload as clients see it."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": None if file is None else file_object(file),
    }


def part_object(part: "StoredPart") -> PartObject:
    """Return a part as clients see it."""
    return {
        "id": part.id,
        "object": "upload.part",
        "created_at": part.created_at,
        "upload_id": part.upload,
    }
