"""Everything that can go wrong with a request, as a closed tree.

An error carries its HTTP status, a stable code and, where the fault is in one field, that field's
name; the dialects only format it. Any other exception is a bug and answered as such.
"""

from gateway.core.usage import Usage
from workers import protocol

SHUTTING_DOWN = "the server is shutting down"
"""The answer to what comes while the server ends. A model that is gone has words of its own."""


class ForgeError(Exception):
    """The base of the tree; only its subclasses are raised."""

    status = 500
    code = "internal_error"
    type = "server_error"
    """OpenAI's coarse kind of error."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        usage: Usage | None = None,
    ) -> None:
        """``retry_after`` (seconds) becomes a header; ``usage`` is what was computed in vain."""
        super().__init__(message)
        self.usage = usage
        self.message = message
        self.param = param
        self.retry_after = retry_after


class BadRequest(ForgeError):
    """The body can't be understood or asks for what is not offered."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class PreviousResponseNotFound(BadRequest):
    """The response that a conversation should go on after is not stored, or not for this key."""

    code = "previous_response_not_found"


class UnsupportedParameter(BadRequest):
    """A parameter that is known and not served."""

    code = "unsupported_parameter"


class UnknownParameter(BadRequest):
    """A parameter that Forge does not know."""

    code = "unknown_parameter"


class ContentNotSupported(BadRequest):
    """A part of the newest user message that is of no known kind."""

    code = "content_not_supported"
    thing, things = "part", "content of this kind"


class ImageNotSupported(ContentNotSupported):
    """An image in the newest user message, and the model takes none."""

    code = "image_not_supported"
    thing, things = "image", "images"


class AudioNotSupported(ContentNotSupported):
    """Audio in the newest user message, and the model takes none."""

    code = "audio_not_supported"
    thing, things = "audio", "audio"


class VideoNotSupported(ContentNotSupported):
    """A video in the newest user message, and the model takes none."""

    code = "video_not_supported"
    thing, things = "video", "videos"


class FileNotSupported(ContentNotSupported):
    """A file in the newest user message that is not text."""

    code = "file_not_supported"
    thing, things = "file", "files that are not text"


class InvalidPrompt(BadRequest):
    """The model's template or tokeniser can't take these messages."""

    code = "invalid_prompt"


class InvalidConstraint(BadRequest):
    """A schema or grammar that can't be enforced."""

    code = "invalid_constraint"


class ContextOverflow(BadRequest):
    """Prompt and one token of completion do not fit the context."""

    code = "context_length_exceeded"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        n_prompt_tokens: int | None = None,
        n_ctx: int | None = None,
    ) -> None:
        """``n_prompt_tokens``: or so many at least; ``n_ctx``: the most that there may be."""
        super().__init__(message, param=param)
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx


class InvalidMedia(BadRequest):
    """A picture or a sound that can't be decoded, or is larger than the bounds."""

    code = "invalid_media"


class ModelNotSupported(BadRequest):
    """The model that is served can't do this: embed, rank, or generate."""

    code = "model_not_supported"


class InvalidKey(ForgeError):
    """No API key, or an unknown one."""

    status, code, type = 401, "invalid_api_key", "invalid_request_error"


class PriorityNotAllowed(ForgeError):
    """More urgent than the API key may be."""

    status, code, type = 403, "priority_not_allowed", "invalid_request_error"


class AdminOnly(ForgeError):
    """For keys with `admin = true`; without keys, for programs on the server's own machine."""

    status, code, type = 403, "admin_only", "invalid_request_error"


class CaptureNotAllowed(ForgeError):
    """The request asks to be captured, and its API key may not ask for that."""

    status, code, type = 403, "capture_not_allowed", "invalid_request_error"


class ReloadBusy(ForgeError):
    """Another reload is running, and one runs at a time."""

    status, code, type = 409, "reload_busy", "invalid_request_error"


class ReloadRefused(ForgeError):
    """The options, tables or keys that were read again have an error; nothing was changed."""

    status, code, type = 422, "reload_refused", "invalid_request_error"


class ReloadFailed(ForgeError):
    """New workers of some model could not be started; its old ones go on."""

    status, code = 503, "reload_failed"


class FilesNotOwned(ForgeError):
    """The model's files were not brought by Forge, which therefore does not delete them."""

    status, code, type = 403, "files_not_owned", "invalid_request_error"


class LoopbackOnly(ForgeError):
    """Offered to this machine alone, and the request is from another one or may be."""

    status, code, type = 403, "loopback_only", "invalid_request_error"


class QuotaExceeded(ForgeError):
    """The key keeps as many bytes as it may; what it deletes makes room."""

    status, code, type = 403, "quota_exceeded", "invalid_request_error"


class RangeNotSatisfiable(ForgeError):
    """The header Range asks for bytes behind the end of the file."""

    status, code, type = 416, "range_not_satisfiable", "invalid_request_error"

    def __init__(self, message: str, size: int) -> None:
        """``size``: the file's bytes, which a header tells."""
        super().__init__(message)
        self.size = size


class NotFound(ForgeError):
    """There is nothing of this name."""

    status, code, type = 404, "not_found", "invalid_request_error"


class UnknownModel(NotFound):
    """This server has another model."""

    code = "model_not_found"


class StoreOff(NotFound):
    """The server keeps no files and batches: it was started without a place for them."""

    code = "store_off"


class ModelStays(ForgeError):
    """The model is the only one, and always loaded."""

    status, code, type = 409, "model_stays", "invalid_request_error"


class ModelInUse(ForgeError):
    """The model is configured or loaded, so that its files stay, or used by other clients."""

    status, code, type = 409, "model_in_use", "invalid_request_error"


class NameTaken(ForgeError):
    """The name is a model's own, and can't be another name of a model."""

    status, code, type = 409, "name_taken", "invalid_request_error"


class KeyExists(ForgeError):
    """There is a key of this name."""

    status, code, type = 409, "key_exists", "invalid_request_error"


class KeyLeftovers(ForgeError):
    """A key of this name was revoked, and files, batches or responses of it are still there."""

    status, code, type = 409, "key_leftovers", "invalid_request_error"


class KeyOfOperator(ForgeError):
    """The key is one of the operator's options, which alone can change it."""

    status, code, type = 409, "key_of_operator", "invalid_request_error"


class LastAdmin(ForgeError):
    """Without the key no client could manage keys any more."""

    status, code, type = 409, "last_admin", "invalid_request_error"


class ServerIsOpen(ForgeError):
    """The server needs no keys; the first one would shut out its clients."""

    status, code, type = 409, "server_is_open", "invalid_request_error"


class UploadEnded(ForgeError):
    """The upload is completed or cancelled, and takes nothing more."""

    status, code, type = 409, "upload_ended", "invalid_request_error"


class MethodNotAllowed(ForgeError):
    """The header Allow says which are."""

    status, code, type = 405, "method_not_allowed", "invalid_request_error"


class HeadersTimeout(ForgeError):
    """A request began and its headers did not end in time."""

    status, code, type = 408, "headers_timeout", "timeout_error"


class BodyTimeout(ForgeError):
    """The body stopped coming, or came too slowly."""

    status, code, type = 408, "body_timeout", "timeout_error"


class BodyTooLarge(ForgeError):
    """More bytes than the operator allows, as sent or decoded."""

    status, code, type = 413, "body_too_large", "invalid_request_error"


class BatchEnded(ForgeError):
    """The batch has ended, or is about to, and can't be cancelled."""

    status, code, type = 409, "batch_ended", "invalid_request_error"


class FileTooLarge(BodyTooLarge):
    """A file of more bytes than the operator allows."""

    code = "file_too_large"


class UnsupportedEncoding(ForgeError):
    """The body's Content-Encoding is none that is read; the header Accept-Encoding says which."""

    status, code, type = 415, "unsupported_encoding", "invalid_request_error"


class UrlTooLong(ForgeError):
    """More than 8 KiB."""

    status, code, type = 414, "url_too_long", "invalid_request_error"


class HeadersTooLarge(ForgeError):
    """Too many bytes, or too many headers."""

    status, code, type = 431, "headers_too_large", "invalid_request_error"


class QueueFull(ForgeError):
    """More wait already than the operator allows."""

    status, code, type = 429, "queue_full", "rate_limit_exceeded"


class Displaced(QueueFull):
    """A more urgent request displaced it before it was started."""

    code = "displaced"


class RateLimited(ForgeError):
    """The API key has used up what it may use in a minute."""

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_exceeded"

    def __init__(self, message: str, *, kind: str, retry_after: int) -> None:
        """``kind`` is what was used up, "requests" or "tokens": OpenAI's type of this error."""
        super().__init__(message, retry_after=retry_after)
        self.type = kind


class BudgetUsedUp(ForgeError):
    """The API key has used up its tokens of the day or of the month.

    The code is OpenAI's, whose clients tell by it that no other try helps for now.
    """

    status, code, type = 429, "insufficient_quota", "insufficient_quota"


class NotOffered(ForgeError):
    """Another program's endpoint, for what Forge does not do."""

    status, code, type = 501, "not_offered", "invalid_request_error"


class PullFailed(ForgeError):
    """A model could not be downloaded; what the next attempt can go on from is kept."""

    status, code = 502, "pull_failed"


class DeadlineExceeded(ForgeError):
    """The time that the request or the operator allowed is over."""

    status, code, type = 504, "deadline_exceeded", "timeout_error"


class StorageFull(ForgeError):
    """The server's disk takes no more; what is running is not touched."""

    status, code = 507, "storage_full"


class Unavailable(ForgeError):
    """Not able to serve now: still loading, or draining before the end."""

    status, code = 503, "unavailable"


class TooManyConnections(Unavailable):
    """The operator or the system allows no more connections than are open."""

    code = "too_many_connections"


class WorkerFailed(ForgeError):
    """The worker could not compute this request; its neighbours were not touched."""

    code = "worker_failed"


class InternalError(ForgeError):
    """A bug. The message tells nothing of the inside; the log does."""


def codes() -> list[str]:
    """The codes of the whole tree."""

    def below(kind: type[ForgeError]) -> list[str]:
        return [kind.code, *(code for child in kind.__subclasses__() for code in below(child))]

    return list(dict.fromkeys(below(ForgeError)))


_FROM_WORKER: dict[str, type[ForgeError]] = {
    protocol.CONTEXT_OVERFLOW: ContextOverflow,
    protocol.BAD_PROMPT: InvalidPrompt,
    protocol.BAD_CONSTRAINT: InvalidConstraint,
    protocol.BAD_PARAMETER: BadRequest,
    protocol.BAD_MEDIA: InvalidMedia,
    protocol.NOT_SUPPORTED: ModelNotSupported,
    protocol.COMPUTE_FAILED: WorkerFailed,
}


def from_worker(
    failed: protocol.Failed | protocol.QuestionFailed, which: int | None = None
) -> ForgeError:
    """The error for a worker's failure code; ``which``: of a request's several prompts."""
    message, param = failed.message, failed.param
    if which is not None and param in ("input", "prompt"):
        message = message.replace(f"'{param}'", f"'{param}.{which}'", 1)
        param = f"{param}.{which}"
    if isinstance(failed, protocol.Failed) and failed.overflow is not None:
        tokens, limit = failed.overflow
        return ContextOverflow(message, n_prompt_tokens=tokens, n_ctx=limit, param=param)
    return _FROM_WORKER[failed.code](message, param=param)
