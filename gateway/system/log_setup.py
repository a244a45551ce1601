"""Logs of the gateway and its workers: no record can pretend to be two.

Messages and exceptions may hold what clients or model files sent: line breaks, terminal escapes.
A record may carry named values besides its message: ``extra=fields(id=..., tokens=...)``.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

Format = Literal["console", "json"]

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def escaped(text: str) -> str:
    """``text`` in one line, with everything that is not printable written as in Python."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def fields(**values: Any) -> dict[str, Any]:
    """For a record's ``extra``: values that JSON knows, under names of their own."""
    return {"fields": values}


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(record, "fields", {})
    return found


def _plain(value: Any) -> str:
    """A value in a console's line; quoted if it might be taken for more than one."""
    if isinstance(value, str) and value and not set(value) & set(' "=\\') and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)


def _indented(text: str) -> str:
    return "\n".join("    " + escaped(line) for line in text.split("\n"))


class OneLine(logging.Formatter):
    """A record is one line, its values last, and the lines of its traceback are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's interface)
        known = {name: value for name, value in _fields(record).items() if value is not None}
        values = [f"{name}={_plain(value)}" for name, value in known.items()]
        return escaped(" ".join([super().formatMessage(record).rstrip(), *values]))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indented(stack_info)


class Json(logging.Formatter):
    """A record is one JSON object in one line, tracebacks and all."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        shown = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage().rstrip(),
            **_fields(record),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            shown["stack"] = self.formatStack(record.stack_info)
        text = json.dumps(shown, ensure_ascii=False)
        if text.isprintable():
            return text
        # What JSON lets stand, terminals may obey: C1 controls, turns of the writing direction.
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def configure(level: str, form: Format, name: str) -> None:
    """Send this process's log to stderr; ``name`` tells its records from others' on a console."""
    handler = logging.StreamHandler()
    console = OneLine(f"%(asctime)s %(levelname)s {name} %(message)s")
    handler.setFormatter(Json() if form == "json" else console)
    logging.basicConfig(level=level.upper(), handlers=[handler])
