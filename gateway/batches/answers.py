"""Judgement of a line's answer: its result, or a reason to run the line once more. Pure.

Too many requests or a budget that is used up (429), and a server that can't serve now (503) pass:
the line waits and runs again, as often as it takes until the batch expires. So does one whose model
is gone (404, ``model_not_found``): it was there when the file was checked, and an operator who
started the server with another one may bring it back; and one whose key was revoked as it was asked
(401): lines without a key wait. A worker's death passes, too: the gateway itself goes on with what
died. A line whose workers died again and again (500, ``worker_failed``) gets one more chance and
then its error, for it may be what kills them. 504 is the line's own doing only if it has a
`timeout`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import orjson

MOST_TRIES = 2
"""Of a line that workers die of, or that nothing was done for in time."""
MOST_WAIT_S = 60.0
FIRST_WAIT_S = 0.5


Body = dict[str, Any] | list[Any]
"""Of an answer; an array is that of a dialect of rankers."""


class EndpointAnswer(Protocol):
    """An endpoint's answer to a line."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]:
        """By their names in small letters."""
        ...

    @property
    def body(self) -> Body: ...


class TokenCounts(NamedTuple):
    """Tokens of answers; of embeddings those of the prompt alone."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def plus(self, other: "TokenCounts") -> "TokenCounts":
        """Return the sums of both."""
        return TokenCounts(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of one try."""

    kind: Literal["done", "failed", "refused", "broken"]
    """``refused``: the owner's lines should come more slowly; ``broken``: this line should be tried
    again."""
    wait_s: float = 0.0
    """Of one that was refused: seconds to wait, as the server says."""


def verdict(answer: EndpointAnswer, tries: int, timeout: bool) -> Verdict:
    """Judge an answer after ``tries`` of the line; ``timeout``: the line sets one."""
    if 200 <= answer.status < 300:
        return Verdict("done")
    code = _code(answer.body)
    if answer.status in (429, 503) or code in ("invalid_api_key", "model_not_found"):
        return Verdict("refused", _retry_after(answer.headers))
    passing = code == "worker_failed" or (answer.status == 504 and not timeout)
    return Verdict("broken" if passing and tries < MOST_TRIES else "failed")


def tokens(body: Body) -> TokenCounts:
    """Return the token counts of an answer, in any of the dialects' shapes."""
    usage = _usage(body)
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    thought = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    cached = details.get("cached_tokens", usage.get("cache_read_input_tokens"))
    given = usage.get("prompt_tokens", usage.get("input_tokens"))
    made = usage.get("completion_tokens", usage.get("output_tokens"))
    return TokenCounts(given or 0, cached or 0, made or 0, thought.get("reasoning_tokens") or 0)


def result_line(
    batch: str, number: int, custom_id: str, answer: EndpointAnswer, request_id: str
) -> bytes:
    """Return the line of the output file, or of the error file, for an answer."""
    response = {"status_code": answer.status, "request_id": request_id, "body": answer.body}
    return _line(batch, number, custom_id, response, None)


def never_run(batch: str, number: int, custom_id: str, code: str, message: str) -> bytes:
    """Return the line of the error file for one that has no answer."""
    return _line(batch, number, custom_id, None, {"code": code, "message": message})


def request_name(batch: str, number: int) -> str:
    """Return the id of a line's result, which tells the line from all others."""
    return f"{batch.replace('batch_', 'batch_req_', 1)}_{number}"


def _line(
    batch: str,
    number: int,
    custom_id: str,
    response: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> bytes:
    said = {
        "id": request_name(batch, number),
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)


def _usage(body: Body) -> Mapping[str, Any]:
    """Return what an answer says of its tokens; Cohere's says it in another place."""
    found = body.get("usage") if isinstance(body, dict) else None
    if found is None and isinstance(body, dict) and isinstance(body.get("meta"), dict):
        found = body["meta"].get("tokens")
    return found if isinstance(found, dict) else {}


def _code(body: Body) -> str | None:
    """Return the code of an error; Anthropic's dialect has none of ours."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return min(MOST_WAIT_S, max(FIRST_WAIT_S, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return FIRST_WAIT_S
