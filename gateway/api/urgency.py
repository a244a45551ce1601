"""The urgency of a request: its priority, and the time that it may take."""

import contextlib
import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import WithJsonSchema
from starlette.requests import Request

from gateway.core.api_key import ApiKey
from gateway.core.errors import BadRequest, PriorityNotAllowed
from gateway.core.priority import NORMAL, PRIORITIES, priority_text

TIERS = {"flex": 0.0, "default": 1.0, "priority": 2.0}
"""OpenAI's service tiers; "auto" leaves the choice to the server, as no tier does."""
MAX_TIMEOUT_S = 86400
Priority = Annotated[
    int | float | str,
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(PRIORITIES)}]}),
]


def asked_priority(
    request: Request,
    value: float | str | None,
    tier: str | None = None,
    usual: float | None = None,
) -> float:
    """Return a request's priority: ``value`` is the body's, ``tier`` OpenAI's service tier.

    ``usual`` is the priority of a request that asks for none (None: as its headers have it). Raises
    BadRequest or PriorityNotAllowed.
    """
    key: ApiKey = request.state.key
    if usual is None:
        usual = getattr(request.state, "usual_priority", NORMAL)
    return priority(value, request.headers, tier, key.max_priority, usual)


def priority(
    value: float | str | None,
    headers: Mapping[str, str],
    tier: str | None,
    highest: float = math.inf,
    usual: float = NORMAL,
) -> float:
    """The base priority: from the body, else the X-Priority header, else the service tier.

    Raises PriorityNotAllowed if that is above ``highest``; a request without one gets ``usual``, or
    what is allowed. A header that makes no sense is a BadRequest even where the body overrules it.
    """
    header = headers.get("x-priority")
    of_header = None if header is None else _priority(header.strip(), "X-Priority")
    if value is not None:
        asked, param = _priority(value, "priority"), "priority"
    elif of_header is not None:
        asked, param = of_header, "X-Priority"
    elif tier in TIERS:
        asked, param = TIERS[tier], "service_tier"
    else:
        return min(usual, highest)
    if asked > highest:
        message = f"'{param}': this API key allows a priority of {priority_text(highest)} at most"
        raise PriorityNotAllowed(message, param=param)
    return asked


def timeout(value: float | None, headers: Mapping[str, str]) -> float | None:
    """Seconds that the request may take: from the body, else the X-Request-Timeout header."""
    if "x-request-timeout" not in headers:
        return value
    with contextlib.suppress(ValueError):
        seconds = float(headers["x-request-timeout"])
        if 0 < seconds <= MAX_TIMEOUT_S:
            return seconds if value is None else value
    raise BadRequest(
        f"'X-Request-Timeout' must be a number of seconds above 0, at most {MAX_TIMEOUT_S}",
        param="X-Request-Timeout",
    )


def _priority(value: float | str, param: str) -> float:
    if isinstance(value, str) and value.lower() in PRIORITIES:
        return PRIORITIES[value.lower()]
    with contextlib.suppress(ValueError, OverflowError):
        # A header can't say whether it is a number; a body can, and a string there is a name.
        number = float(value) if param != "priority" or not isinstance(value, str) else math.nan
        if math.isfinite(number):
            return number
    names = ", ".join(f"'{name}'" for name in PRIORITIES)
    raise BadRequest(f"'{param}' must be a finite number or one of {names}", param=param)
