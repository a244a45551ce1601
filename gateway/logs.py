"""How the gateway and its workers write logs: no record can pretend to be two.

Messages and exceptions may hold what clients or model files sent: line breaks, terminal escapes.
"""

import logging
from types import TracebackType

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def escaped(text: str) -> str:
    """``text`` in one line, with everything that is not printable written as in Python."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _indented(text: str) -> str:
    return "\n".join("    " + escaped(line) for line in text.split("\n"))


class OneLine(logging.Formatter):
    """A record is one line, and the lines of its traceback are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's interface)
        return escaped(super().formatMessage(record).rstrip())

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indented(stack_info)


def configure(level: str, who: str) -> None:
    """Send this process's log to stderr; ``who`` tells its records from others'."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(f"%(asctime)s %(levelname)s {who} %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
