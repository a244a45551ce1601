"""The test that a request may change what models there are on this machine."""

from starlette.requests import Request

from gateway.api.local import from_here
from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.errors import AdminOnly


def is_admin(request: Request) -> bool:
    """Tell if a request has an admin's key; without keys, if it certainly comes from here."""
    key: ApiKey = request.state.key
    return from_here(request) if key is ANYONE else key.admin


def check_admin(request: Request) -> None:
    """Raises :class:`AdminOnly`."""
    if is_admin(request):
        return
    if request.state.key is ANYONE:
        raise AdminOnly(
            "without API keys models are managed from the server's own machine alone, and from no "
            "web page of another origin; --api-key opens this to others"
        )
    raise AdminOnly("this API key may not manage models: its table needs 'admin = true'")
