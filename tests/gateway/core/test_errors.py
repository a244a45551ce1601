"""The closed tree of errors."""

from collections.abc import Iterator

import pytest

from gateway.core import errors
from gateway.core.errors import ForgeError, from_worker
from workers import protocol
from workers.protocol import Failed


def tree(root: type[ForgeError] = ForgeError) -> Iterator[type[ForgeError]]:
    for child in root.__subclasses__():
        yield child
        yield from tree(child)


@pytest.mark.parametrize("code", sorted(protocol.FAILURES))
def test_every_failure_of_a_worker_has_its_error(code: str) -> None:
    error = from_worker(Failed(1, 1, code, "what happened"))
    assert error.message == str(error) == "what happened"
    assert type(error) in set(tree())


def test_the_prompt_is_the_clients_fault_and_the_computation_is_not() -> None:
    statuses = {code: from_worker(Failed(1, 1, code, "")).status for code in protocol.FAILURES}
    assert statuses == {
        protocol.CONTEXT_OVERFLOW: 400,
        protocol.BAD_PROMPT: 400,
        protocol.BAD_CONSTRAINT: 400,
        protocol.BAD_PARAMETER: 400,
        protocol.BAD_MEDIA: 400,
        protocol.NOT_SUPPORTED: 400,
        protocol.COMPUTE_FAILED: 500,
    }


def test_codes_on_both_sides_of_the_border_are_the_same() -> None:
    """Clients read OpenAI's code for an overflow; the worker says it with the same word."""
    assert errors.ContextOverflow.code == protocol.CONTEXT_OVERFLOW
    assert errors.InvalidPrompt.code == protocol.BAD_PROMPT
    assert errors.InvalidConstraint.code == protocol.BAD_CONSTRAINT
    assert errors.InvalidMedia.code == protocol.BAD_MEDIA
    assert errors.ModelNotSupported.code == protocol.NOT_SUPPORTED


@pytest.mark.parametrize("error", list(tree()))
def test_status_and_type_agree(error: type[ForgeError]) -> None:
    assert error.status in {
        400,
        401,
        403,
        404,
        405,
        408,
        409,
        413,
        414,
        415,
        416,
        422,
        429,
        431,
        500,
        501,
        502,
        503,
        504,
        507,
    }
    special = {408: "timeout_error", 429: "rate_limit_exceeded", 504: "timeout_error"}
    special[501] = "invalid_request_error"
    usual = "invalid_request_error" if error.status < 500 else "server_error"
    if error is errors.BudgetUsedUp:  # OpenAI's type beside that of its limits
        special[429] = "insufficient_quota"
    assert error.type == special.get(error.status, usual)


def test_codes_tell_the_errors_apart() -> None:
    codes = [kind.code for kind in tree() if kind is not errors.InternalError]
    assert len(codes) == len(set(codes))


def test_a_limit_tells_which_one_in_the_type() -> None:
    error = errors.RateLimited("slower", kind="tokens", retry_after=3)
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "tokens")


def test_fields() -> None:
    error = errors.Unavailable("later", param="x", retry_after=5)
    assert (error.message, error.param, error.retry_after) == ("later", "x", 5)
