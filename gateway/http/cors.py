"""Web pages that may use the API, and the preflights of their browsers."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from gateway.core import loopback


class Cors(CORSMiddleware):
    """Lets pages of the allowed origins in. Preflights end here: they carry no key."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], exposed: list[str]) -> None:
        super().__init__(
            app,
            allow_origins=[each for each in origins if each != loopback.NAME],
            allow_origin_regex=loopback.ORIGIN if loopback.NAME in origins else None,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],  # OpenAI's client in a browser sends a dozen of its own
            expose_headers=exposed,
            # A page in the world that calls into a private network: if it was meant by its name.
            allow_private_network="*" not in origins,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Say nothing about a foreign origin, with 200: the browser refuses what is not allowed.

        Its console then names the origin as the reason, where a status sends its user elsewhere.
        """
        if self.is_allowed_origin(request_headers["origin"]):
            return super().preflight_response(request_headers)
        return PlainTextResponse("", headers={"Vary": self.preflight_headers["Vary"]})
