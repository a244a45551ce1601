"""The parts of captures, put together for a server with a store."""

from collections.abc import Callable, Mapping

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from gateway.capture.intercepting import Capturing
from gateway.capture.keeper import CaptureKeeper
from gateway.capture.making import CaptureMaker, Decode
from gateway.capture.recording import HeldBytes
from gateway.capture.redaction import BadPattern, Redactor
from gateway.config.config import Config, ConfigError
from gateway.core.errors import ForgeError
from gateway.stored.captures import CaptureBounds, StoredCaptures
from gateway.stored.database import Database
from gateway.stored.incoming import Clock


class CaptureParts:
    """The writer of captures, and the rows that it writes."""

    def __init__(self, config: Config, database: Database, clock: Clock, decode: Decode) -> None:
        """``decode``: bodies that come compressed. Raises ConfigError for a bad pattern."""
        try:
            redactor = Redactor(config.redact)
        except BadPattern as error:
            raise ConfigError(f"--redact: {error}") from None
        bounds = CaptureBounds(config.capture_number, config.capture_bytes, config.capture_age)
        self._usual = config.capture
        self.rows = StoredCaptures(database, clock, bounds)
        maker = CaptureMaker(redactor, decode, config.capture_size)
        held = HeldBytes(config.capture_bytes)
        self.keeper = CaptureKeeper(self.rows, maker, held, config.capture_size, clock)

    def layer(
        self, groups: Mapping[str, str], respond: Callable[[Request, ForgeError], Response]
    ) -> Middleware:
        """Return the layer around the API: see :class:`Capturing`."""
        return Middleware(Capturing, self.keeper, groups, self._usual, respond)
