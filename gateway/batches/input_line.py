"""A line of a batch's input: the request that it asks for, or what is wrong with it. Pure.

    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": ...}}

What the endpoint itself would refuse in a body is not looked for here: that is the result of its
line. Looked for is what makes the whole file wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

LONGEST_ID = 512
"""Characters of a `custom_id`."""
SHOWN = 64
"""Characters of a client's text that an error repeats."""
FIELDS = {"custom_id": str, "method": str, "url": str, "body": dict}
KINDS = {str: "a string", dict: "an object"}
WHOLE = ("stream", "background")
"""Fields of bodies that ask for another answer than one whole object at the end."""
MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line that may run."""

    custom_id: str
    url: str
    body: dict[str, Any]

    @property
    def model(self) -> str | None:
        """The name in the body; None: the server's first model."""
        model: str | None = self.body.get("model")
        return model


class LineWrong(Exception):
    """The line makes the whole file wrong."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def input_line(data: bytes, urls: Sequence[str]) -> InputLine:
    """Return what a line asks for, at one of the ``urls``. Raises LineWrong."""
    try:
        value = orjson.loads(data.removeprefix(MARK))
    except orjson.JSONDecodeError as error:
        raise LineWrong("invalid_json_line", f"The line is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise LineWrong("invalid_json_line", "The line is not a JSON object.")
    for name, kind in FIELDS.items():
        if value.get(name) is None:
            raise LineWrong("missing_required_parameter", f"'{name}' is missing.", name)
        if not isinstance(value[name], kind):
            raise LineWrong("invalid_type", f"'{name}' must be {KINDS[kind]}.", name)
    custom_id, body = value["custom_id"], value["body"]
    if not 0 < len(custom_id) <= LONGEST_ID:
        message = f"'custom_id' must have 1 to {LONGEST_ID} characters."
        raise LineWrong("invalid_custom_id", message, "custom_id")
    if value["method"] != "POST":
        message = f"'method' must be POST, not {shown(value['method'])}."
        raise LineWrong("invalid_method", message, "method")
    url = value["url"]
    if url not in urls:
        one = "one of " if len(urls) > 1 else "the batch's endpoint, "
        message = f"'url' must be {one}{', '.join(urls)}, not {shown(url)}."
        raise LineWrong("invalid_url", message, "url")
    _check_body(body)
    return InputLine(custom_id, url, body)


def _check_body(body: dict[str, Any]) -> None:
    for name in WHOLE:
        if body.get(name):
            message = f"'{name}': the lines of a batch have one whole answer each."
            raise LineWrong("unsupported_parameter", message, f"body.{name}")
    if not isinstance(body.get("model"), str | None):
        raise LineWrong("invalid_type", "'model' must be a string.", "body.model")


def shown(text: str) -> str:
    """Return the beginning of a client's text, in quotes and without control characters."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
