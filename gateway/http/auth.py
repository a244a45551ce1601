"""Identity of a request's client: told by the headers alone, before a byte of the body is read."""

from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.config.api_keys import Keyring
from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.errors import ForgeError, InvalidKey


class Authentication:
    """Leaves the :class:`ApiKey` in the request's state, or answers 401."""

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring,
        open_paths: Collection[str],
        respond: Callable[[Request, ForgeError], Response],
    ) -> None:
        """``open_paths`` may be read without a key.

        ``respond`` makes an error's response in the shape of the dialect.
        """
        self._app = app
        self._keyring = keyring
        self._open_paths = open_paths
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            scope.setdefault("state", {})["key"] = self._key(scope)
        except InvalidKey as error:
            response = self._respond(Request(scope), error)
            response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _key(self, scope: Scope) -> ApiKey:
        """Return the key of a request. Raises InvalidKey, which does not repeat the secret."""
        if self._keyring.open:
            return ANYONE
        if scope["path"] in self._open_paths and scope["method"] in ("GET", "HEAD"):
            return ANYONE
        secrets = presented(Headers(scope=scope))
        if not secrets:
            raise InvalidKey(
                "this server needs an API key: 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            )
        for secret in secrets:
            key = self._keyring.find(secret)
            if key is not None:
                return key
        raise InvalidKey("this API key is not known here")


def presented(headers: Headers) -> list[str]:
    """Return the secrets in a request's headers.

    Clients of Anthropic's send two where two are set for them, and mean one server with only one:
    whichever is known here counts, the bearer token first.
    """
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    bearer = [secret.strip()] if scheme.lower() == "bearer" else []
    own = headers.get("x-api-key")
    return bearer if own is None else [*bearer, own]
